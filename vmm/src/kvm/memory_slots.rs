//! Guest memory in KVM's slots: one slot a region of RAM, and those of memory that the guest only reads.

use std::sync::Arc;

use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap};

use super::{KvmError, ioctl};
use crate::memory::GuestMemory;

/// The slots of read-only memory begin here: there are fewer regions of RAM.
const FIRST_READ_ONLY: u32 = 8;

/// Gives the guest all of `memory`. The mapping must live as long as the machine does, which the
/// machine sees to by holding a clone of it.
pub(super) fn add_all(fd: &VmFd, memory: &GuestMemory) -> Result<(), KvmError> {
    for (slot, region) in memory.iter().enumerate() {
        set(fd, slot as u32, 0, region, region.len())?;
    }
    Ok(())
}

/// Memory that the guest reads as it reads RAM, and whose writes leave the guest; or that can be hidden,
/// so that each access does.
pub struct ReadOnlyMemory {
    fd: Arc<VmFd>,
    slot: u32,
    /// One region. It is the guest's as long as `fd` lives, so this does as well.
    memory: GuestMemory,
}

impl ReadOnlyMemory {
    /// The `index`-th such memory of the machine `fd`, hidden.
    pub(super) fn new(fd: Arc<VmFd>, index: u32, memory: GuestMemory) -> Self {
        Self {
            fd,
            slot: FIRST_READ_ONLY + index,
            memory,
        }
    }

    /// Shows it to the guest.
    ///
    /// # Errors
    /// KVM refuses, as it does where something else lies there.
    pub fn show(&self) -> Result<(), KvmError> {
        self.memory
            .iter()
            .try_for_each(|region| set(&self.fd, self.slot, KVM_MEM_READONLY, region, region.len()))
    }

    /// Hides it from the guest. It must be shown.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn hide(&self) -> Result<(), KvmError> {
        // A slot of length 0 is none.
        self.memory
            .iter()
            .try_for_each(|region| set(&self.fd, self.slot, 0, region, 0))
    }
}

impl Drop for ReadOnlyMemory {
    fn drop(&mut self) {
        // It is hidden already, or goes with the machine: the mapping must not end before.
        let _ = self.hide();
    }
}

/// Puts the first `len` bytes (all or none) of `region` into a slot.
fn set(fd: &VmFd, slot: u32, flags: u32, region: &GuestRegionMmap, len: u64) -> Result<(), KvmError> {
    let region = kvm_userspace_memory_region {
        slot,
        flags,
        guest_phys_addr: region.start_addr().raw_value(),
        memory_size: len,
        userspace_addr: region.as_ptr() as u64,
    };
    // SAFETY: the range is a whole mapping (or empty) owned by guest memory that the caller keeps while the slot
    // is there. The guest may change it at any time, which all users of guest memory allow for by volatile
    // accesses; slots do not overlap, or KVM refuses.
    unsafe { fd.set_user_memory_region(region) }.map_err(ioctl("KVM_SET_USER_MEMORY_REGION"))
}
