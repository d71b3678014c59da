//! What is only x86's of a vCPU that is about to be run, or has stopped.

use kvm_ioctls::VcpuFd;

/// Tells the guest, as far as it listens, that the vCPU was held: its watchdog then does not take that
/// for a hang.
pub(crate) fn excuse(vcpu: &VcpuFd) {
    // KVM refuses where the guest uses no clock of KVM's: then there is nobody to tell.
    let _ = vcpu.kvmclock_ctrl();
}

/// Where the vCPU stands, for a message.
pub(crate) fn place(vcpu: &VcpuFd) -> Option<String> {
    let (regs, sregs) = vcpu.get_regs().ok().zip(vcpu.get_sregs().ok())?;
    Some(format!(
        "rip {:#x}, rsp {:#x}, cr0 {:#x}, cr3 {:#x}, cr4 {:#x}, efer {:#x}",
        regs.rip, regs.rsp, sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer
    ))
}
