//! How much data a foreign qcow2 file may stand for.

use super::{Extents, SparseFile};
use crate::disk::DiskError;
use crate::qcow2::Fault;

/// How many bytes of data each byte of the file may stand for. Deflate gets to 1032; beyond are files that name
/// one cluster for many places, to fill the disk of whoever imports them.
pub(super) const LIMIT: u64 = 4096;

/// Counts the data that is read of a file against what the file holds, its holes left out: its length says little, for
/// a hole of any length costs its maker nothing.
pub(super) struct Expansion<'a> {
    name: &'a str,
    /// None: there is no limit, for each byte of data is one of the file.
    file: Option<&'a SparseFile>,
    data: u64,
    /// What the file holds up to `looked_at`. No more is looked at than shows that the data may be.
    held: u64,
    looked_at: u64,
}

impl<'a> Expansion<'a> {
    pub(super) fn new(name: &'a str, file: Option<&'a SparseFile>) -> Expansion<'a> {
        Expansion {
            name,
            file,
            data: 0,
            held: 0,
            looked_at: 0,
        }
    }

    /// Counts `data` bytes more. It is an error if the file cannot stand for so many.
    pub(super) fn count(&mut self, data: u64) -> Result<(), DiskError> {
        self.data = self.data.saturating_add(data);
        let Some(file) = self.file else {
            return Ok(());
        };
        while self.data > self.held.saturating_mul(LIMIT) {
            let Some(range) = file.next(self.looked_at)? else {
                return Err(DiskError::Format {
                    path: self.name.into(),
                    fault: Fault::Expands {
                        len: self.held,
                        data: self.data,
                        limit: LIMIT,
                    },
                });
            };
            self.held = self.held.saturating_add(range.end.saturating_sub(range.start));
            self.looked_at = range.end;
        }
        Ok(())
    }
}
