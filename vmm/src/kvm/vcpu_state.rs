//! The whole state of a vCPU: what a reset puts back.

use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events,
    kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::VcpuFd;

use super::vcpu::Vcpu;
use super::{Hypervisor, KvmError, ioctl};

/// All that KVM keeps of a vCPU between two runs.
#[derive(Debug)]
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
const TSC: u32 = 0x10;

impl VcpuState {
    /// Reads the state of `vcpu`, which must not be running.
    pub fn read(hypervisor: &Hypervisor, vcpu: &Vcpu) -> Result<Self, KvmError> {
        let fd = vcpu.fd();
        let indices = hypervisor.msr_indices()?;
        let msrs: Vec<_> = indices
            .as_slice()
            .iter()
            .copied()
            .filter(|&index| index != TSC)
            .collect();
        Ok(Self {
            regs: fd.get_regs().map_err(ioctl("KVM_GET_REGS"))?,
            sregs: fd.get_sregs().map_err(ioctl("KVM_GET_SREGS"))?,
            lapic: fd.get_lapic().map_err(ioctl("KVM_GET_LAPIC"))?,
            mp_state: fd.get_mp_state().map_err(ioctl("KVM_GET_MP_STATE"))?,
            events: fd.get_vcpu_events().map_err(ioctl("KVM_GET_VCPU_EVENTS"))?,
            debug: fd.get_debug_regs().map_err(ioctl("KVM_GET_DEBUGREGS"))?,
            xsave: fd.get_xsave().map_err(ioctl("KVM_GET_XSAVE"))?,
            xcrs: fd.get_xcrs().ok().filter(|xcrs| xcrs.nr_xcrs > 0),
            msrs: read_msrs(fd, &msrs)?,
        })
    }

    /// Puts the state back. The order is KVM's: the APIC's base before its registers, mode before
    /// events.
    pub fn write(&self, vcpu: &Vcpu) -> Result<(), KvmError> {
        let fd = vcpu.fd();
        fd.set_mp_state(self.mp_state)
            .map_err(ioctl("KVM_SET_MP_STATE"))?;
        fd.set_sregs(&self.sregs).map_err(ioctl("KVM_SET_SREGS"))?;
        fd.set_regs(&self.regs).map_err(ioctl("KVM_SET_REGS"))?;
        // SAFETY: the state was read by KVM_GET_XSAVE, whose 4096 bytes hold all of it unless the
        // process asked the kernel for dynamic features (AMX), which this one never does.
        unsafe { fd.set_xsave(&self.xsave) }.map_err(ioctl("KVM_SET_XSAVE"))?;
        if let Some(xcrs) = &self.xcrs {
            fd.set_xcrs(xcrs).map_err(ioctl("KVM_SET_XCRS"))?;
        }
        write_msrs(fd, &self.msrs)?;
        // Zero is not a time to KVM, but "as the other vCPUs": their counters stay in step.
        write_msrs(
            fd,
            &[kvm_msr_entry {
                index: TSC,
                ..Default::default()
            }],
        )?;
        fd.set_lapic(&self.lapic).map_err(ioctl("KVM_SET_LAPIC"))?;
        fd.set_debug_regs(&self.debug)
            .map_err(ioctl("KVM_SET_DEBUGREGS"))?;
        fd.set_vcpu_events(&self.events)
            .map_err(ioctl("KVM_SET_VCPU_EVENTS"))
    }
}

/// Reads those of `indices` that can be read; KVM stops at the first that cannot.
fn read_msrs(fd: &VcpuFd, indices: &[u32]) -> Result<Vec<kvm_msr_entry>, KvmError> {
    let mut read = Vec::with_capacity(indices.len());
    let mut rest = indices;
    while !rest.is_empty() {
        let wanted: Vec<_> = rest
            .iter()
            .map(|&index| kvm_msr_entry {
                index,
                ..Default::default()
            })
            .collect();
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
