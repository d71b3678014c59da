//! The whole state of a vCPU: what a reset puts back, and what is saved of a machine that is to go on
//! later.

use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events,
    kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};

use crate::kvm::vcpu::Vcpu;
use crate::kvm::{Hypervisor, KvmError, ioctl};

/// All that KVM keeps of a vCPU between two runs, but for its time and what CPUID shows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VcpuState {
    regs: kvm_regs,
    sregs: kvm_sregs,
    lapic: kvm_lapic_state,
    mp_state: kvm_mp_state,
    events: kvm_vcpu_events,
    debug: kvm_debugregs,
    xsave: kvm_xsave,
    /// Absent where the host has no XSAVE.
    xcrs: Option<kvm_xcrs>,
    msrs: Vec<kvm_msr_entry>,
}

/// `MSR_IA32_TSC`.
pub(super) const TSC: u32 = 0x10;
/// `MSR_IA32_TSC_DEADLINE`: KVM drops it unless the local APIC's timer is in that mode already.
const TSC_DEADLINE: u32 = 0x6e0;
/// Registers that give KVM a page to write into (Linux, Documentation/virt/kvm/x86/msr.rst): system time in its old and
/// new place, steal time, asynchronous page faults, ends of interrupts.
const SHARED: [u32; 5] = [0x12, 0x4b56_4d01, 0x4b56_4d03, 0x4b56_4d02, 0x4b56_4d04];

impl VcpuState {
    /// Reads the state of `vcpu`, which must not be running.
    pub fn read(hypervisor: &Hypervisor, vcpu: &Vcpu) -> Result<Self, KvmError> {
        let fd = vcpu.fd();
        let indices = hypervisor
            .kvm()
            .get_msr_index_list()
            .map_err(ioctl("KVM_GET_MSR_INDEX_LIST"))?;
        let listed = indices.as_slice().iter().copied();
        let msrs: Vec<_> = listed.filter(|&index| index != TSC).chain(mtrrs()).collect();
        // These two change registers as they are read, so they come first: an INIT or a start-up that waits for the
        // vCPU happens now, and then an exception that waits writes to CR2 or DR6.
        let mp_state = fd.get_mp_state().map_err(ioctl("KVM_GET_MP_STATE"))?;
        let events = fd.get_vcpu_events().map_err(ioctl("KVM_GET_VCPU_EVENTS"))?;
        Ok(Self {
            regs: fd.get_regs().map_err(ioctl("KVM_GET_REGS"))?,
            sregs: fd.get_sregs().map_err(ioctl("KVM_GET_SREGS"))?,
            lapic: fd.get_lapic().map_err(ioctl("KVM_GET_LAPIC"))?,
            mp_state,
            events,
            debug: fd.get_debug_regs().map_err(ioctl("KVM_GET_DEBUGREGS"))?,
            xsave: fd.get_xsave().map_err(ioctl("KVM_GET_XSAVE"))?,
            xcrs: fd.get_xcrs().ok().filter(|xcrs| xcrs.nr_xcrs > 0),
            msrs: read_msrs(fd, &msrs)?,
        })
    }

    /// Puts the state back as at a power-on: all vCPUs' time stamp counters are in step.
    pub fn write(&self, vcpu: &Vcpu) -> Result<(), KvmError> {
        // Zero is not a time to KVM, but "as the other vCPUs".
        set_tsc(vcpu.fd(), 0)?;
        self.write_all_but_time(vcpu)
    }

    /// Has KVM forget the pages that the guest gave it to write times and events into: until another state is put back
    /// it would write there, whatever the memory is used for by then.
    pub fn part_from_memory(vcpu: &Vcpu) -> Result<(), KvmError> {
        let none: Vec<_> = SHARED.iter().map(|&index| msr(index, 0)).collect();
        write_msrs(vcpu.fd(), &none)
    }

    /// Puts the state back, but for the time stamp counter, which is set before. The order is KVM's: the
    /// APIC's base before its registers, its timer's mode before the deadline, mode before events.
    pub(super) fn write_all_but_time(&self, vcpu: &Vcpu) -> Result<(), KvmError> {
        let fd = vcpu.fd();
        fd.set_mp_state(self.mp_state)
            .map_err(ioctl("KVM_SET_MP_STATE"))?;
        fd.set_sregs(&self.sregs).map_err(ioctl("KVM_SET_SREGS"))?;
        fd.set_regs(&self.regs).map_err(ioctl("KVM_SET_REGS"))?;
        // SAFETY: KVM reads the 4096 bytes that the structure has unless the process asked the kernel
        // for dynamic features (AMX), which this one never does; and it checks what they say.
        unsafe { fd.set_xsave(&self.xsave) }.map_err(ioctl("KVM_SET_XSAVE"))?;
        if let Some(xcrs) = &self.xcrs {
            fd.set_xcrs(xcrs).map_err(ioctl("KVM_SET_XCRS"))?;
        }
        let (deadline, others): (Vec<_>, Vec<_>) =
            self.msrs.iter().partition(|entry| entry.index == TSC_DEADLINE);
        write_msrs(fd, &others)?;
        fd.set_lapic(&self.lapic).map_err(ioctl("KVM_SET_LAPIC"))?;
        write_msrs(fd, &deadline)?;
        fd.set_debug_regs(&self.debug)
            .map_err(ioctl("KVM_SET_DEBUGREGS"))?;
        fd.set_vcpu_events(&self.events)
            .map_err(ioctl("KVM_SET_VCPU_EVENTS"))
    }
}

/// The memory type range registers, which KVM keeps and does not list: base and mask of each of 8 ranges, the fixed
/// ranges, the default (SDM volume 3A, "Memory Type Range Registers").
fn mtrrs() -> impl Iterator<Item = u32> {
    (0x200..0x210)
        .chain([0x250, 0x258, 0x259])
        .chain(0x268..0x270)
        .chain([0x2ff])
}

fn msr(index: u32, data: u64) -> kvm_msr_entry {
    kvm_msr_entry {
        index,
        data,
        ..Default::default()
    }
}

/// Sets the time stamp counter.
pub(super) fn set_tsc(fd: &VcpuFd, time: u64) -> Result<(), KvmError> {
    write_msrs(fd, &[msr(TSC, time)])
}

/// Reads those of `indices` that can be read; KVM stops at the first that cannot.
pub(super) fn read_msrs(fd: &VcpuFd, indices: &[u32]) -> Result<Vec<kvm_msr_entry>, KvmError> {
    let mut read = Vec::with_capacity(indices.len());
    let mut rest = indices;
    while !rest.is_empty() {
        let wanted: Vec<_> = rest.iter().map(|&index| msr(index, 0)).collect();
        let mut msrs = list(&wanted)?;
        let done = fd.get_msrs(&mut msrs).map_err(ioctl("KVM_GET_MSRS"))?;
        read.extend(msrs.as_slice().iter().take(done));
        rest = rest.get(done + 1..).unwrap_or_default();
    }
    Ok(read)
}

/// Writes those of `entries` that can be written: some registers can only be read.
fn write_msrs(fd: &VcpuFd, entries: &[kvm_msr_entry]) -> Result<(), KvmError> {
    let mut rest = entries;
    while !rest.is_empty() {
        let done = fd.set_msrs(&list(rest)?).map_err(ioctl("KVM_SET_MSRS"))?;
        rest = rest.get(done + 1..).unwrap_or_default();
    }
    Ok(())
}

fn list(entries: &[kvm_msr_entry]) -> Result<Msrs, KvmError> {
    Msrs::from_entries(entries)
        .map_err(|_| ioctl("list of registers")(vmm_sys_util::errno::Error::new(libc::E2BIG)))
}

#[cfg(test)]
mod tests {
    use kvm_bindings::{KVM_MP_STATE_RUNNABLE, kvm_msi};

    use super::*;
    use crate::kvm::vm::Vm;
    use crate::memory;

    #[test]
    fn a_vcpu_that_is_being_woken_is_read_where_it_begins() {
        let hypervisor = Hypervisor::open().expect("this host has a /dev/kvm");
        let memory = memory::map(&[(0, 2 << 20)]).expect("two megabytes can be had");
        let vm = Vm::new(&hypervisor, &memory).expect("a machine can be made");
        let [_first, second] = [0, 1].map(|id| vm.create_vcpu(&hypervisor, id).expect("a vCPU can be made"));
        let state = || VcpuState::read(&hypervisor, &second).expect("it is not running");
        // As a machine does before it runs: KVM then knows the APIC.
        state().write(&second).expect("it is its own");
        // INIT, then a start-up at page 0x9f, to the APIC whose id is 1 (SDM volume 3A, "Message Signalled
        // Interrupts").
        for data in [0x500, 0x69f] {
            let message = kvm_msi {
                address_lo: 0xfee0_1000,
                data,
                ..Default::default()
            };
            let arrived = vm.fd().signal_msi(message).expect("KVM takes messages");
            assert!(arrived > 0, "{data:#x} went nowhere");
        }
        let woken = state();
        let begins = (woken.mp_state.mp_state, woken.sregs.cs.selector);
        assert_eq!(begins, (KVM_MP_STATE_RUNNABLE, 0x9f00));
    }

    #[test]
    fn a_vcpu_that_parts_from_memory_has_no_page_left_that_kvm_writes_into() {
        let hypervisor = Hypervisor::open().expect("this host has a /dev/kvm");
        let memory = memory::map(&[(0, 2 << 20)]).expect("two megabytes can be had");
        let vm = Vm::new(&hypervisor, &memory).expect("a machine can be made");
        let vcpu = vm.create_vcpu(&hypervisor, 0).expect("a vCPU can be made");
        let pages = || -> Vec<_> {
            let read = read_msrs(vcpu.fd(), &SHARED).expect("they can be read");
            read.iter()
                .filter(|msr| msr.data != 0)
                .map(|msr| msr.index)
                .collect()
        };
        let given = [msr(0x4b56_4d01, 0x1001), msr(0x4b56_4d03, 0x2001)];
        write_msrs(vcpu.fd(), &given).expect("they can be written");
        assert_eq!(pages(), [0x12, 0x4b56_4d01, 0x4b56_4d03]);
        VcpuState::part_from_memory(&vcpu).expect("they can be written");
        assert_eq!(pages(), [0; 0]);
    }
}
