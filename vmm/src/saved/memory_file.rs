//! The file of a machine's memory: the bytes of all regions, one after the other, as a sparse file.
//!
//! Empty pages are not written, so they take no room and cost no time when the file is read: reading
//! follows the file's holes. What was written is summed up as a [`MemorySum`], which goes into the
//! state: so a state and a memory that do not belong together are told apart.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use vm_memory::{
    Bytes, GuestMemoryBackend as _, GuestMemoryError, GuestMemoryRegion as _, GuestRegionMmap,
    MemoryRegionAddress,
};

use crate::memory::GuestMemory;

/// Bytes of a page, the least that is left out.
const PAGE: usize = 4096;
/// An empty page.
static EMPTY: [u8; PAGE] = [0; PAGE];
/// Bytes that are moved at once.
const CHUNK: usize = 1 << 20;

/// What a memory file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySum {
    /// Bytes of memory, which is the file's length.
    pub bytes: u64,
    /// Bytes of pages that are not empty.
    pub data: u64,
    /// CRC-32 (IEEE) of each such page after its number, in their order.
    checksum: u32,
}

/// A memory file that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryFileError {
    /// Reading or writing failed.
    #[error("the file of the saved memory: {0}")]
    Io(#[from] io::Error),
    /// The file to write to is in use for something.
    #[error("the file for the saved memory has {0} bytes already: give an empty one")]
    NotEmpty(u64),
    /// Not as long as this machine's memory.
    #[error("the file of the saved memory has {found} bytes, this machine's memory {wanted}")]
    Length {
        /// The machine's.
        wanted: u64,
        /// The file's.
        found: u64,
    },
    /// Another memory, or a damaged one.
    #[error("the saved memory is not the one that the saved state is of, or damaged")]
    Mismatch,
    /// A region of guest memory could not be reached: it is all mapped, so this cannot be.
    #[error("guest memory: {0}")]
    Guest(#[from] GuestMemoryError),
}

impl From<Errno> for MemoryFileError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Sums pages up.
struct Sum {
    hasher: crc32fast::Hasher,
    data: u64,
}

impl Sum {
    fn new() -> Self {
        Self {
            hasher: crc32fast::Hasher::new(),
            data: 0,
        }
    }

    /// Adds the page at `offset` of the file.
    fn add(&mut self, offset: u64, page: &[u8]) {
        self.hasher.update(&offset.to_le_bytes());
        self.hasher.update(page);
        self.data = self.data.saturating_add(page.len() as u64);
    }

    fn finish(self, bytes: u64) -> MemorySum {
        MemorySum {
            bytes,
            data: self.data,
            checksum: self.hasher.finalize(),
        }
    }
}

/// Writes `memory`, which nobody may be changing, to `file`, which must be empty.
///
/// # Errors
/// The file is not empty or cannot be written.
pub fn write(memory: &GuestMemory, file: &File) -> Result<MemorySum, MemoryFileError> {
    match file.metadata()?.len() {
        0 => file.set_len(length(memory))?,
        bytes => return Err(MemoryFileError::NotEmpty(bytes)),
    }
    let mut sum = Sum::new();
    let mut buffer = vec![0; CHUNK];
    for (base, region) in placed(memory) {
        for at in (0..region.len()).step_by(CHUNK) {
            let chunk = chunk_of(&mut buffer, region.len().saturating_sub(at));
            region.read_slice(chunk, MemoryRegionAddress(at))?;
            let offset = base.saturating_add(at);
            for (start, run) in runs(chunk, offset, &mut sum) {
                file.write_all_at(run, start)?;
            }
        }
    }
    Ok(sum.finish(length(memory)))
}

/// Reads what `sum` says of into `memory`, which must be empty.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn read(file: &File, memory: &GuestMemory, expected: &MemorySum) -> Result<(), MemoryFileError> {
    let (wanted, found) = (length(memory), file.metadata()?.len());
    if found != wanted || expected.bytes != wanted {
        return Err(MemoryFileError::Length { wanted, found });
    }
    let mut sum = Sum::new();
    let mut buffer = vec![0; CHUNK];
    for (base, region) in placed(memory) {
        let end = base.saturating_add(region.len());
        let mut offset = base;
        while let Some((data, hole)) = next_data(file, offset)?.filter(|&(data, _)| data < end) {
            // From and to whole pages, whatever the grain of the file's holes.
            offset = (data & !(PAGE as u64).wrapping_sub(1)).max(offset);
            let data_end = hole.checked_next_multiple_of(PAGE as u64).unwrap_or(end).min(end);
            while offset < data_end {
                let chunk = chunk_of(&mut buffer, data_end.saturating_sub(offset));
                file.read_exact_at(chunk, offset)?;
                for (start, run) in runs(chunk, offset, &mut sum) {
                    region.write_slice(run, MemoryRegionAddress(start.saturating_sub(base)))?;
                }
                offset = offset.saturating_add(chunk.len() as u64);
            }
        }
    }
    if sum.finish(wanted) == *expected {
        Ok(())
    } else {
        Err(MemoryFileError::Mismatch)
    }
}

/// Bytes of all regions.
fn length(memory: &GuestMemory) -> u64 {
    memory
        .iter()
        .fold(0, |bytes, region| bytes.saturating_add(region.len()))
}

/// Each region with its place in the file.
fn placed(memory: &GuestMemory) -> impl Iterator<Item = (u64, &GuestRegionMmap<()>)> {
    memory.iter().scan(0u64, |next, region| {
        let base = *next;
        *next = base.saturating_add(region.len());
        Some((base, region))
    })
}

/// The front of `buffer`, no longer than `left`.
fn chunk_of(buffer: &mut [u8], left: u64) -> &mut [u8] {
    let wanted = usize::try_from(left).unwrap_or(CHUNK).min(buffer.len());
    buffer.split_at_mut(wanted).0
}

/// The runs of pages of `chunk` that are not empty, each with its place in the file, summed up.
fn runs<'a>(chunk: &'a [u8], offset: u64, sum: &mut Sum) -> Vec<(u64, &'a [u8])> {
    let mut runs = Vec::new();
    let mut start = None;
    let mut at = 0usize;
    for page in chunk.chunks(PAGE) {
        let next = at.saturating_add(page.len());
        // As a whole: byte by byte takes many times as long.
        if EMPTY.get(..page.len()) != Some(page) {
            sum.add(offset.saturating_add(at as u64), page);
            start.get_or_insert(at);
        } else if let Some(start) = start.take() {
            runs.push((start, at));
        }
        at = next;
    }
    runs.extend(start.map(|start| (start, at)));
    let place = |(start, end): (usize, usize)| {
        let bytes = chunk.get(start..end).unwrap_or_default();
        (offset.saturating_add(start as u64), bytes)
    };
    runs.into_iter().map(place).collect()
}

/// Where the first data from `offset` on begin and end; `None` if there are none.
fn next_data(file: &File, offset: u64) -> Result<Option<(u64, u64)>, MemoryFileError> {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Ok(Some((data, rustix::fs::seek(file, SeekFrom::Hole(data))?))),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests;
