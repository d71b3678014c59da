//! The interrupt controllers and the timer in the kernel: two PICs, an I/O APIC, a PIT; and `kvmclock`.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_PIT_SPEAKER_DUMMY, kvm_clock_data,
    kvm_irqchip, kvm_pit_config, kvm_pit_state2,
};
use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};

use super::layout::KVM_PAGES;
use crate::kvm::{KvmError, ioctl};

/// Where in guest memory KVM may put the pages that it needs on Intel hosts without unrestricted
/// guests: one page of an identity map, then three of a task state segment. RAM is never there.
const IDENTITY_MAP: u64 = KVM_PAGES;
/// See [`IDENTITY_MAP`].
const TSS: u64 = KVM_PAGES + 0x1000;

/// The interrupt controllers, in their order.
const CHIPS: [u32; 3] = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];

/// Interrupt controllers and timer, as KVM makes them.
pub struct Chips {
    irqchips: [kvm_irqchip; 3],
    pit: kvm_pit_state2,
}

/// What the kernel keeps of a machine besides its vCPUs, for saving: interrupt controllers, timer, and
/// the time of the guest's clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipsState {
    pic: [kvm_irqchip; 2],
    io_apic: kvm_irqchip,
    pit: kvm_pit_state2,
    /// Nanoseconds of `kvmclock`.
    clock: u64,
}

impl Chips {
    /// Makes those of the machine `fd`, which has no vCPUs yet.
    pub(crate) fn create(fd: &VmFd) -> Result<Self, KvmError> {
        fd.set_identity_map_address(IDENTITY_MAP)
            .map_err(ioctl("KVM_SET_IDENTITY_MAP_ADDR"))?;
        fd.set_tss_address(TSS as usize)
            .map_err(ioctl("KVM_SET_TSS_ADDR"))?;
        fd.create_irq_chip().map_err(ioctl("KVM_CREATE_IRQCHIP"))?;
        let pit = kvm_pit_config {
            flags: KVM_PIT_SPEAKER_DUMMY,
            ..Default::default()
        };
        fd.create_pit2(pit).map_err(ioctl("KVM_CREATE_PIT2"))?;
        Self::read(fd)
    }

    /// Puts those of the machine `fd` into this state. No vCPU may be running.
    pub(crate) fn write(&self, fd: &VmFd) -> Result<(), KvmError> {
        for chip in &self.irqchips {
            fd.set_irqchip(chip).map_err(ioctl("KVM_SET_IRQCHIP"))?;
        }
        fd.set_pit2(&self.pit).map_err(ioctl("KVM_SET_PIT2"))
    }

    fn read(fd: &VmFd) -> Result<Self, KvmError> {
        let mut irqchips = CHIPS.map(|chip_id| kvm_irqchip {
            chip_id,
            ..Default::default()
        });
        for chip in &mut irqchips {
            fd.get_irqchip(chip).map_err(ioctl("KVM_GET_IRQCHIP"))?;
        }
        Ok(Self {
            irqchips,
            pit: fd.get_pit2().map_err(ioctl("KVM_GET_PIT2"))?,
        })
    }
}

impl ChipsState {
    /// What the kernel keeps of the machine `fd`, whose vCPUs are held.
    pub(crate) fn read(fd: &VmFd) -> Result<Self, KvmError> {
        let chips = Chips::read(fd)?;
        let [master, slave, io_apic] = chips.irqchips;
        Ok(Self {
            pic: [master, slave],
            io_apic,
            pit: chips.pit,
            clock: fd.get_clock().map_err(ioctl("KVM_GET_CLOCK"))?.clock,
        })
    }

    /// Gives the machine `fd` this state, after the vCPUs have theirs. The guest's clock goes on from
    /// where it was, as if no time had passed.
    pub(crate) fn write(&self, fd: &VmFd) -> Result<(), KvmError> {
        let [master, slave] = self.pic;
        let mut irqchips = [master, slave, self.io_apic];
        // Which chip it is follows from the place, whatever the state says.
        for (chip, id) in irqchips.iter_mut().zip(CHIPS) {
            chip.chip_id = id;
        }
        let chips = Chips {
            irqchips,
            pit: self.pit,
        };
        chips.write(fd)?;
        let clock = kvm_clock_data {
            clock: self.clock,
            ..Default::default()
        };
        fd.set_clock(&clock).map_err(ioctl("KVM_SET_CLOCK"))
    }
}
