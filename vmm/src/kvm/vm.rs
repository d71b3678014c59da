//! A virtual machine: its interrupt controllers and timer in the kernel, its doorbells.

use std::io;
use std::sync::Arc;

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_PIT_SPEAKER_DUMMY, kvm_clock_data,
    kvm_irqchip, kvm_pit_config, kvm_pit_state2,
};
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use super::irq::Router;
use super::vcpu::Vcpu;
use super::{Hypervisor, KvmError, ioctl, memory_slots};
use crate::arch::x86_64::layout::KVM_PAGES;
use crate::memory::GuestMemory;
use crate::pci::Doorbells;

/// Where in guest memory KVM may put the pages that it needs on Intel hosts without unrestricted
/// guests: one page of an identity map, then three of a task state segment. RAM is never there.
const IDENTITY_MAP: u64 = KVM_PAGES;
/// See [`IDENTITY_MAP`].
const TSS: u64 = KVM_PAGES + 0x1000;

/// A virtual machine without vCPUs. Cheap to clone; all clones are the same machine.
#[derive(Clone)]
pub struct Vm {
    fd: Arc<VmFd>,
    router: Router,
    /// Interrupt controllers and timer as KVM made them.
    pristine: Arc<Chips>,
}

struct Chips {
    irqchips: [kvm_irqchip; 3],
    pit: kvm_pit_state2,
}

/// What the kernel keeps of a machine besides its vCPUs, for saving: interrupt controllers, timer, and
/// the time of the guest's clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmState {
    pic: [kvm_irqchip; 2],
    io_apic: kvm_irqchip,
    pit: kvm_pit_state2,
    /// Nanoseconds of `kvmclock`.
    clock: u64,
}

impl Vm {
    /// Creates a machine with PIC, I/O APIC and PIT, and with `memory` in its slots.
    pub fn new(hypervisor: &Hypervisor, memory: &GuestMemory) -> Result<Self, KvmError> {
        let fd = Arc::new(hypervisor.kvm().create_vm().map_err(ioctl("KVM_CREATE_VM"))?);
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
        memory_slots::add_all(&fd, memory)?;
        let router = Router::new(Arc::clone(&fd))?;
        let pristine = Arc::new(Chips::read(&fd)?);
        Ok(Self { fd, router, pristine })
    }

    /// Makes the vCPU whose APIC id is `id`.
    pub fn create_vcpu(&self, hypervisor: &Hypervisor, id: u8) -> Result<Vcpu, KvmError> {
        let most = hypervisor.kvm().get_max_vcpus();
        if usize::from(id) >= most {
            return Err(KvmError::TooManyCpus {
                asked: usize::from(id) + 1,
                most,
            });
        }
        let fd = self
            .fd
            .create_vcpu(u64::from(id))
            .map_err(ioctl("KVM_CREATE_VCPU"))?;
        Ok(Vcpu::new(fd))
    }

    /// The table of interrupts.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Sets the level of a legacy interrupt line (GSI 0 to 23).
    pub fn set_line(&self, gsi: u32, level: Level) -> Result<(), KvmError> {
        self.fd
            .set_irq_line(gsi, level == Level::High)
            .map_err(ioctl("KVM_IRQ_LINE"))
    }

    /// An event that pulses the legacy interrupt line `gsi` each time it is written: an edge.
    pub fn edge(&self, gsi: u32) -> Result<EventFd, KvmError> {
        let event = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map_err(KvmError::EventFd)?;
        self.fd.register_irqfd(&event, gsi).map_err(ioctl("KVM_IRQFD"))?;
        Ok(event)
    }

    /// Puts interrupt controllers and timer back into the state of power-on. No vCPU may be running.
    pub fn reset_chips(&self) -> Result<(), KvmError> {
        self.pristine.write(&self.fd)
    }

    /// What the kernel keeps besides the vCPUs, which are held.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn state(&self) -> Result<VmState, KvmError> {
        let chips = Chips::read(&self.fd)?;
        let [master, slave, io_apic] = chips.irqchips;
        Ok(VmState {
            pic: [master, slave],
            io_apic,
            pit: chips.pit,
            clock: self.fd.get_clock().map_err(ioctl("KVM_GET_CLOCK"))?.clock,
        })
    }

    /// Takes over what [`Self::state`] gave, after the vCPUs have theirs. The guest's clock goes on from
    /// where it was, as if no time had passed.
    ///
    /// # Errors
    /// KVM refuses the state.
    pub fn restore(&self, state: &VmState) -> Result<(), KvmError> {
        let [master, slave] = state.pic;
        let mut irqchips = [master, slave, state.io_apic];
        // Which chip it is follows from the place, whatever the state says.
        for (chip, id) in irqchips.iter_mut().zip(CHIPS) {
            chip.chip_id = id;
        }
        let chips = Chips {
            irqchips,
            pit: state.pit,
        };
        chips.write(&self.fd)?;
        let clock = kvm_clock_data {
            clock: state.clock,
            ..Default::default()
        };
        self.fd.set_clock(&clock).map_err(ioctl("KVM_SET_CLOCK"))
    }
}

impl Doorbells for Vm {
    fn register(&self, address: u64, event: &EventFd) -> io::Result<()> {
        Ok(self
            .fd
            .register_ioevent(event, &IoEventAddress::Mmio(address), NoDatamatch)?)
    }

    fn unregister(&self, address: u64, event: &EventFd) -> io::Result<()> {
        Ok(self
            .fd
            .unregister_ioevent(event, &IoEventAddress::Mmio(address), NoDatamatch)?)
    }
}

/// The level of an interrupt line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Not asserted.
    Low,
    /// Asserted.
    High,
}

/// The interrupt controllers, in their order.
const CHIPS: [u32; 3] = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];

impl Chips {
    fn write(&self, fd: &VmFd) -> Result<(), KvmError> {
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
