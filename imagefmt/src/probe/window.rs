//! A range of a disk, read through a budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ProbeError;
use crate::disk::{Disk, read_exact_at, write_all_at};

/// The most that is read through one window, in bytes. It stops a file system whose trees lead
/// back into themselves from being read for hours; a kernel, an initramfs and a journal of the
/// largest usual size (1 GiB) fit with room to spare.
const BUDGET: u64 = 6 << 30;

/// The most reads through one window. It stops the same attack in pieces of a few bytes.
const REQUESTS: u64 = 4 << 20;

/// A range of a disk: a partition, or all of it. Clones share one budget.
#[derive(Clone)]
pub struct Window {
    disk: Arc<dyn Disk>,
    start: u64,
    len: u64,
    read: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Window({}..+{})", self.start, self.len)
    }
}

impl Window {
    /// The whole disk.
    pub fn whole(disk: Arc<dyn Disk>) -> Window {
        let len = disk.size();
        Window {
            disk,
            start: 0,
            len,
            read: Arc::default(),
            requests: Arc::default(),
        }
    }

    /// `len` bytes of `disk` from byte `start` on; an error if they are not all there. `what` names
    /// the range in it.
    pub fn range(disk: Arc<dyn Disk>, start: u64, len: u64, what: &str) -> Result<Window, ProbeError> {
        let size = disk.size();
        match start.checked_add(len) {
            Some(end) if end <= size => Ok(Window {
                disk,
                start,
                len,
                read: Arc::default(),
                requests: Arc::default(),
            }),
            end => Err(ProbeError::BeyondEnd {
                what: format!("the end of {what}"),
                offset: end.unwrap_or(u64::MAX),
                size,
            }),
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing at all is in the window.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `to` with the bytes at `offset` of the window.
    pub fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), ProbeError> {
        let wanted = to.len() as u64;
        let position = self.position(offset, wanted)?;
        let read = self
            .read
            .fetch_add(wanted, Ordering::Relaxed)
            .saturating_add(wanted);
        if read > BUDGET || self.requests.fetch_add(1, Ordering::Relaxed) > REQUESTS {
            return Err(ProbeError::TooMuch { limit: BUDGET });
        }
        read_exact_at(&*self.disk, position, to).map_err(|source| ProbeError::Read {
            offset: position,
            len: to.len(),
            source,
        })
    }

    /// Writes `from` at `offset` of the window.
    pub(super) fn write(&self, offset: u64, from: &[u8]) -> Result<(), ProbeError> {
        let position = self.position(offset, from.len() as u64)?;
        write_all_at(&*self.disk, position, from).map_err(|source| ProbeError::Write {
            offset: position,
            len: from.len(),
            source,
        })
    }

    /// Where `len` bytes at `offset` of the window lie on the disk.
    fn position(&self, offset: u64, len: u64) -> Result<u64, ProbeError> {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len);
        let position = self.start.checked_add(offset).filter(|_| fits);
        position.ok_or(ProbeError::BeyondEnd {
            what: "what is asked for".into(),
            offset,
            size: self.len,
        })
    }

    /// The bytes from `offset` on, `len` of them or fewer where the window ends before.
    pub fn read_up_to(&self, offset: u64, len: usize) -> Result<Vec<u8>, ProbeError> {
        let there = self.len.saturating_sub(offset);
        let len = usize::try_from(there).map_or(len, |there| there.min(len));
        let mut bytes = vec![0; len];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }
}
