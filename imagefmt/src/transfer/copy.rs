//! Copies what is not zero.

use std::ops::Range;

use super::{Extents, TransferError};
use crate::disk::{Disk, DiskError, read_exact_at};

/// How much is read at once, in bytes.
const PIECE: usize = 2 << 20;

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the disk that are done with, holes included.
    pub done: u64,
    /// The disk's size.
    pub total: u64,
}

/// Takes bytes of the disk and where they lie.
pub(super) type Write<'a> = dyn FnMut(u64, &[u8]) -> Result<(), TransferError> + 'a;

/// Hands all data of `from` to `write`, in order and in runs of whole granules (but for the disk's
/// end); granules of nothing but zeroes are left out. Returns how many bytes were handed on.
pub(super) fn copy(
    from: &dyn Disk,
    extents: &dyn Extents,
    granule: usize,
    write: &mut Write<'_>,
    progress: &mut dyn FnMut(Progress),
    read_failed: &dyn Fn(DiskError) -> TransferError,
) -> Result<u64, TransferError> {
    let total = from.size();
    let mut buffer = vec![0; PIECE];
    let mut written = 0_u64;
    let mut at = 0;
    while let Some(data) = extents.next(at).map_err(read_failed)? {
        let Range { start, end } = widened(data, granule as u64, at, total);
        if start >= end {
            break;
        }
        at = start;
        while at < end {
            let len = usize::try_from(end.saturating_sub(at)).map_or(PIECE, |left| left.min(PIECE));
            let piece = buffer.get_mut(..len).unwrap_or_default();
            read_exact_at(from, at, piece).map_err(read_failed)?;
            for run in runs(piece, granule) {
                let position = at.saturating_add(run.start as u64);
                let bytes = piece.get(run).unwrap_or_default();
                write(position, bytes)?;
                written = written.saturating_add(bytes.len() as u64);
            }
            at = at.saturating_add(len as u64);
            progress(Progress { done: at, total });
        }
    }
    progress(Progress { done: total, total });
    Ok(written)
}

/// `data` in whole granules, within the disk and not before `from`, up to where all is done.
fn widened(data: Range<u64>, granule: u64, from: u64, total: u64) -> Range<u64> {
    let rest = data.start.checked_rem(granule).unwrap_or(0);
    let end = data.end.checked_next_multiple_of(granule).unwrap_or(total);
    data.start.saturating_sub(rest).max(from)..end.min(total)
}

/// The runs of granules that are not all zero.
fn runs(piece: &[u8], granule: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut start = 0_usize;
    for chunk in piece.chunks(granule) {
        let end = start.saturating_add(chunk.len());
        if !is_zero(chunk) {
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => runs.push(start..end),
            }
        }
        start = end;
    }
    runs
}

/// Sixteen bytes at a time: most of a disk goes through here.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}
