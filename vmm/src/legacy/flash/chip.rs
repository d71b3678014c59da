//! The bytes: in memory for the guest, and in the file that keeps them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::BLOCK;
use crate::memory::GuestMemory;

/// A block that is erased.
const ERASED: [u8; BLOCK as usize] = [0xff; BLOCK as usize];

/// The bytes. Whoever changes them holds the flash's lock.
pub(super) struct Chip {
    memory: GuestMemory,
    base: GuestAddress,
    len: u64,
    file: File,
    /// Whether something was written to the file since it was synced.
    is_dirty: AtomicBool,
}

impl Chip {
    pub(super) fn new(
        memory: GuestMemory,
        base: GuestAddress,
        len: u64,
        file: File,
    ) -> Result<Self, GuestMemoryError> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0)
            .map_err(GuestMemoryError::IOError)?;
        memory.write_slice(&bytes, base)?;
        Ok(Self {
            memory,
            base,
            len,
            file,
            is_dirty: AtomicBool::new(false),
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        let at = self.place(offset);
        if at.is_none_or(|at| self.memory.read_slice(data, at).is_err()) {
            data.fill(0xff);
        }
    }

    /// Clears the bits that are clear in `data`. `false`: it could not be kept.
    pub(super) fn program(&self, offset: u64, data: &[u8]) -> bool {
        let mut bytes = data.to_vec();
        self.read(offset, &mut bytes);
        for (byte, mask) in bytes.iter_mut().zip(data) {
            *byte &= mask;
        }
        self.write(offset, &bytes)
    }

    /// Sets all bits of the block in which `offset` lies. `false`: it could not be kept.
    pub(super) fn erase(&self, offset: u64) -> bool {
        let within = offset.checked_rem(BLOCK).unwrap_or(0);
        self.write(offset.saturating_sub(within), &ERASED)
    }

    /// Has the host put on its disk what was written.
    pub(super) fn sync(&self) {
        if self.is_dirty.swap(false, Ordering::Relaxed)
            && let Err(error) = self.file.sync_data()
        {
            tracing::error!("the firmware's variables cannot be synced: {error}");
        }
    }

    /// First to the file: what it does not take is not shown either.
    fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        let Some(at) = self.place(offset) else {
            return false;
        };
        self.is_dirty.store(true, Ordering::Relaxed);
        let kept = self.file.write_all_at(bytes, offset);
        if let Err(error) = &kept {
            tracing::error!("the firmware's variables cannot be written: {error}");
        }
        kept.is_ok() && self.memory.write_slice(bytes, at).is_ok()
    }

    fn place(&self, offset: u64) -> Option<GuestAddress> {
        self.base.0.checked_add(offset).map(GuestAddress)
    }
}
