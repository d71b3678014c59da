//! Whether the log holds what the file system does not show yet.
//!
//! "XFS Algorithms & Data Structures", chapter "Journaling Log". The log is a ring of blocks of 512 bytes that
//! begin with the number of the round in which they were written. What comes last is a record; one that says
//! that the file system was unmounted is all that an unmounted file system has there.

use super::seal::{be16, be32};
use crate::probe::{ProbeError, Window};

/// Bytes of a block of the log.
const BLOCK: u64 = 512;

/// Marks the head of a record, whose second word is the round.
const RECORD: u32 = 0xFEED_BABE;

/// The longest record, heads and all, in blocks: 256 KiB of data, and 8 blocks.
const LONGEST: u64 = 520;

/// Data that one block of a record's head describes, in bytes.
const PER_HEAD: u32 = 32 << 10;

/// The flag of the one operation in the last record.
const UNMOUNT: u8 = 0x20;

/// Whether the file system whose log has `len` bytes at `start` was unmounted.
pub(super) fn is_clean(window: &Window, start: u64, len: u64) -> Result<bool, ProbeError> {
    let log = Log {
        window,
        start,
        blocks: len / BLOCK,
    };
    let Some(head) = log.head()? else {
        return Ok(true);
    };
    log.ends_unmounted(head)
}

struct Log<'a> {
    window: &'a Window,
    start: u64,
    /// How many blocks it has.
    blocks: u64,
}

impl Log<'_> {
    fn read(&self, block: u64, count: u64) -> Result<Vec<u8>, ProbeError> {
        let len = usize::try_from(count.saturating_mul(BLOCK)).unwrap_or(0);
        let mut bytes = vec![0; len];
        if len == 0 {
            return Ok(bytes);
        }
        let offset = self.start.saturating_add(block.saturating_mul(BLOCK));
        self.window.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The round in which a block was written; 0 if it never was.
    fn round(&self, block: u64) -> Result<u32, ProbeError> {
        let bytes = self.read(block, 1)?;
        let word = |at| be32(&bytes, at).unwrap_or(0);
        Ok(match word(0) {
            RECORD => word(4),
            round => round,
        })
    }

    /// The block where the next record will be written; none if there never was one.
    fn head(&self) -> Result<Option<u64>, ProbeError> {
        if self.blocks == 0 || self.round(0)? == 0 {
            return Ok(None);
        }
        let (first, last) = (self.round(0)?, self.round(self.blocks.saturating_sub(1))?);
        if first == last {
            return Ok(Some(self.blocks));
        }
        // Blocks before the head are of the first one's round, those from it on are of an earlier one.
        let (mut low, mut high) = (0_u64, self.blocks.saturating_sub(1));
        while low.saturating_add(1) < high {
            let middle = low.midpoint(high);
            match self.round(middle)? == first {
                true => low = middle,
                false => high = middle,
            }
        }
        Ok(Some(high))
    }

    /// Whether the last record before `head` says that the file system was unmounted.
    fn ends_unmounted(&self, head: u64) -> Result<bool, ProbeError> {
        let count = LONGEST.min(self.blocks);
        // What lies before the head, also across the end of the ring.
        let before = head.min(count);
        let wrapped = count.saturating_sub(before);
        let mut bytes = self.read(self.blocks.saturating_sub(wrapped), wrapped)?;
        bytes.extend(self.read(head.saturating_sub(before), before)?);
        let blocks: Vec<&[u8]> = bytes.chunks_exact(BLOCK as usize).collect();
        let Some(last) = blocks.iter().rposition(|block| be32(block, 0) == Some(RECORD)) else {
            return Ok(false);
        };
        let record = blocks.get(last..).unwrap_or_default();
        let head = record.first().copied().unwrap_or_default();
        let (len, room) = (be32(head, 12).unwrap_or(0), be32(head, 320).unwrap_or(0));
        let heads = match be32(head, 8) {
            Some(version) if version & 2 != 0 => room.div_ceil(PER_HEAD).max(1),
            _ => 1,
        };
        let whole = heads.saturating_add(len.div_ceil(BLOCK as u32));
        let operation = record.get(heads as usize).copied().unwrap_or_default();
        // The operation begins with its transaction, its length, who it is for, then its flags.
        let flags = be16(operation, 8).map_or(0, |pair| pair as u8);
        Ok(whole as usize == record.len() && be32(head, 40) == Some(1) && flags & UNMOUNT != 0)
    }
}
