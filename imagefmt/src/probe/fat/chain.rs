//! Which clusters a file is in: the table that gave FAT its name.

use super::boot_sector::{BootSector, Width};
use crate::probe::Window;
use crate::probe::fault::Fault;

/// How much of the table is read at once, in bytes.
const PIECE: u64 = 4096;

/// Bytes that follow each other on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// What comes after a cluster.
enum Next {
    Cluster(u32),
    End,
    Bad,
}

/// The table, with the piece of it that was read last.
pub(super) struct Table<'a> {
    window: &'a Window,
    sector: &'a BootSector,
    piece: Option<(u64, Vec<u8>)>,
}

impl<'a> Table<'a> {
    pub(super) fn new(window: &'a Window, sector: &'a BootSector) -> Table<'a> {
        Table {
            window,
            sector,
            piece: None,
        }
    }

    /// The first `len` bytes of the file that begins in `first`, or all of its clusters up to that many
    /// bytes if `whole` is not wanted.
    pub(super) fn runs(&mut self, first: u32, len: u64, whole: Whole) -> Result<Vec<Run>, Fault> {
        let mut runs: Vec<Run> = Vec::new();
        let mut left = len;
        let mut cluster = first;
        // Each turn takes a cluster off `left`: a chain that leads back into itself ends, too.
        while left > 0 {
            let Some(offset) = self.sector.offset(cluster) else {
                return Err(Fault::Damaged("it lies in a cluster that does not exist"));
            };
            let len = left.min(self.sector.cluster);
            match runs.last_mut() {
                Some(last) if last.offset.checked_add(last.len) == Some(offset) => {
                    last.len = last.len.saturating_add(len);
                }
                _ => runs.push(Run { offset, len }),
            }
            left = left.saturating_sub(len);
            if left == 0 {
                break;
            }
            match self.next(cluster)? {
                Next::Cluster(next) => cluster = next,
                Next::End if whole == Whole::No => break,
                Next::End => return Err(Fault::Damaged("its clusters end before it does")),
                Next::Bad => return Err(Fault::Damaged("it lies in a bad cluster")),
            }
        }
        Ok(runs)
    }

    fn next(&mut self, cluster: u32) -> Result<Next, Fault> {
        let number = u64::from(cluster);
        let (value, end, bad) = match self.sector.width {
            Width::Fat12 => {
                // One and a half bytes each.
                let pair = u32::from(self.byte(number.saturating_add(number / 2))?)
                    | u32::from(self.byte(number.saturating_add(number / 2).saturating_add(1))?) << 8;
                let value = if number % 2 == 0 { pair & 0xFFF } else { pair >> 4 };
                (value, 0xFF8, 0xFF7)
            }
            Width::Fat16 => (self.little(number.saturating_mul(2), 2)?, 0xFFF8, 0xFFF7),
            Width::Fat32 => {
                let value = self.little(number.saturating_mul(4), 4)? & 0x0FFF_FFFF;
                (value, 0x0FFF_FFF8, 0x0FFF_FFF7)
            }
        };
        Ok(match value {
            value if value >= end => Next::End,
            value if value == bad => Next::Bad,
            value => Next::Cluster(value),
        })
    }

    fn little(&mut self, at: u64, len: u64) -> Result<u32, Fault> {
        let mut value = 0;
        for nth in (0..len).rev() {
            value = value << 8 | u32::from(self.byte(at.saturating_add(nth))?);
        }
        Ok(value)
    }

    fn byte(&mut self, at: u64) -> Result<u8, Fault> {
        if at >= self.sector.table_len {
            return Err(Fault::Damaged("its table is too short"));
        }
        let start = at.saturating_sub(at % PIECE);
        if self.piece.as_ref().is_none_or(|(known, _)| *known != start) {
            let bytes = self
                .window
                .read_up_to(self.sector.table.saturating_add(start), PIECE as usize)?;
            self.piece = Some((start, bytes));
        }
        let within = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
        let piece = self.piece.as_ref().and_then(|(_, bytes)| bytes.get(within));
        piece.copied().ok_or(Fault::Damaged("its table is too short"))
    }
}

/// Whether all of the bytes must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// They must: it is a file.
    Yes,
    /// They need not: a folder is as long as its clusters.
    No,
}
