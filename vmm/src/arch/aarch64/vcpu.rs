//! What is only arm64's of a vCPU that is about to be run, or has stopped.

use kvm_ioctls::VcpuFd;

use super::registers::PC;

/// There is nobody to tell that the vCPU was held.
pub(crate) fn excuse(_: &VcpuFd) {}

/// Where the vCPU stands, for a message.
pub(crate) fn place(vcpu: &VcpuFd) -> Option<String> {
    let mut pc = [0; 8];
    vcpu.get_one_reg(PC, &mut pc).ok()?;
    Some(format!("pc {:#x}", u64::from_le_bytes(pc)))
}
