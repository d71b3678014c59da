//! Guest memory in KVM's slots: one slot a region.

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

use super::{KvmError, ioctl};
use crate::memory::GuestMemory;

/// Gives the guest all of `memory`. The mapping must live as long as the machine does, which the
/// machine sees to by holding a clone of it.
pub(super) fn add_all(fd: &VmFd, memory: &GuestMemory) -> Result<(), KvmError> {
    for (slot, region) in memory.iter().enumerate() {
        let region = kvm_userspace_memory_region {
            slot: slot as u32,
            flags: 0,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
        };
        // SAFETY: the range is a whole mapping owned by `memory`. The guest may change it at any time,
        // which all users of guest memory allow for by volatile accesses; slots do not overlap, since
        // the regions of a collection do not.
        unsafe { fd.set_user_memory_region(region) }.map_err(ioctl("KVM_SET_USER_MEMORY_REGION"))?;
    }
    Ok(())
}
