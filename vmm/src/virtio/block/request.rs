//! One request (5.2.6): parsed from a chain, done on a disk.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize};

use kiln_imagefmt::{Disk, DiskError, Segment, Unmap};

use super::config::{DISCARDS, MAX_DATA, SECTOR, ZEROES};
use super::gate::Passage;
use super::traffic::Traffic;
use crate::virtio::{Chain, GuestMemory, QueueError, Slice};

/// Bytes of `struct virtio_blk_req` before the data: type, reserved, sector.
const HEADER: usize = 16;
/// Bytes of `struct virtio_blk_discard_write_zeroes`.
const RANGE: usize = 16;
/// The types of reads and writes.
const READ: u32 = 0;
const WRITE: u32 = 1;
/// The longest data, in bytes, that are moved by the thread that takes requests: it takes no longer than to wake another.
const AT_ONCE: u64 = 32 << 10;
/// Bytes of the answer to `GET_ID`.
const ID: usize = 20;

/// How a request ended (5.2.6, `status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// What a request failed of; each becomes a status.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the driver's request makes no sense: {0}")]
    Malformed(&'static str),
    #[error("buffer: {0}")]
    Buffer(#[from] QueueError),
    #[error("unknown request or flag")]
    Unsupported,
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Failure {
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Unsupported => Status::Unsupported,
            Self::Malformed(_) | Self::Buffer(_) | Self::Disk(_) => Status::IoError,
        }
    }
}

/// What identifies the disk in the guest: up to 20 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serial([u8; ID]);

impl std::fmt::Display for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(ID);
        let text = self.0.get(..end).unwrap_or_default();
        write!(f, "{}", text.escape_ascii())
    }
}

impl Serial {
    /// The serial of a volume id: without its dash, as EC2's NVMe disks show it, cut to 20 bytes.
    pub fn of_volume(id: &str) -> Self {
        let mut bytes = [0; ID];
        for (to, byte) in bytes.iter_mut().zip(id.bytes().filter(|byte| *byte != b'-')) {
            *to = byte;
        }
        Self(bytes)
    }

    /// The serial as text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What the disk needs to know of the device.
pub(super) struct Target<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) memory: &'a GuestMemory,
    pub(super) serial: &'a Serial,
    pub(super) traffic: &'a Traffic,
    pub(super) read_only: bool,
    /// The driver knows no flush: a write is durable before it is completed (5.2.6.2).
    pub(super) write_through: bool,
}

/// What of a request needs no wait for the host's disk.
#[derive(Debug)]
pub(super) enum AtOnce {
    /// All, and it is done.
    All(Outcome),
    /// All but rarely: it is yet to be done.
    Soon,
    /// Nothing that is known of.
    Nothing,
}

/// A request's end: how many bytes were written from the start of its buffers, and why it failed.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) written: u32,
    pub(super) failure: Option<Failure>,
}

impl Target<'_> {
    /// Does the request in `chain` and writes its status, the last byte that the device may write. It gives up its
    /// `passage` before it waits for the host's disk.
    ///
    /// # Errors
    /// There is no place for a status, so nobody can be told but by a reset.
    pub(super) fn serve(
        &self,
        chain: &Chain,
        passage: &mut Option<Passage<'_>>,
    ) -> Result<Outcome, QueueError> {
        let status_at = chain
            .writable_len()
            .checked_sub(1)
            .ok_or(QueueError::ChainTooShort { wanted: 1 })?;
        // Before anything is done: a request whose status cannot be told is not begun.
        chain.writable(self.memory, status_at, 1)?;
        let result = self.execute(chain, status_at, passage);
        let (status, filled) = match &result {
            Ok(filled) => (Status::Ok, *filled),
            Err(failure) => (failure.status(), 0),
        };
        chain.write_at(self.memory, status_at, &[status as u8])?;
        // What is counted is contiguous from the start: the status only if all before it was filled.
        let written = if filled == status_at {
            filled.saturating_add(1)
        } else {
            filled
        };
        Ok(Outcome {
            written: u32::try_from(written).unwrap_or(u32::MAX),
            failure: result.err(),
        })
    }

    /// Does what can be done without waiting for the host's disk. What makes no sense is left to [`serve`](Self::serve), which
    /// tells.
    pub(super) fn at_once(&self, chain: &Chain) -> AtOnce {
        match self.header(chain) {
            Ok((READ, sector)) => self
                .read_cached(chain, sector)
                .map_or(AtOnce::Nothing, AtOnce::All),
            Ok((WRITE, sector)) if self.is_quick_write(chain, sector) => AtOnce::Soon,
            _ => AtOnce::Nothing,
        }
    }

    /// Does a read whose bytes the host has in its cache, and writes its status.
    fn read_cached(&self, chain: &Chain, sector: u64) -> Option<Outcome> {
        let room = chain
            .writable_len()
            .checked_sub(1)
            .filter(|room| *room <= AT_ONCE)?;
        let offset = self.place(sector, room).ok()?;
        let slices = chain.writable(self.memory, 0, room).ok()?;
        // An error is told by the read that follows.
        self.disk
            .read_cached(offset, &segments(&slices))
            .ok()
            .filter(|cached| *cached)?;
        chain.write_at(self.memory, room, &[Status::Ok as u8]).ok()?;
        self.traffic.read(room);
        Some(Outcome {
            written: u32::try_from(room.saturating_add(1)).ok()?,
            failure: None,
        })
    }

    /// Whether a write hardly ever waits for the host: it is into its cache alone.
    fn is_quick_write(&self, chain: &Chain, sector: u64) -> bool {
        let len = chain.readable_len().saturating_sub(HEADER as u64);
        len <= AT_ONCE
            && !self.write_through
            && self
                .place(sector, len)
                .is_ok_and(|offset| self.disk.needs_no_read(offset, len))
    }

    /// A request's type, and the sector that it is of.
    fn header(&self, chain: &Chain) -> Result<(u32, u64), QueueError> {
        let mut header = [0; HEADER];
        chain.read_at(self.memory, 0, &mut header)?;
        let [a, b, c, d, _, _, _, _, sector @ ..] = header;
        Ok((u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(sector)))
    }

    /// Returns how many bytes were written to the guest; `room` are before the status.
    fn execute(&self, chain: &Chain, room: u64, passage: &mut Option<Passage<'_>>) -> Result<u64, Failure> {
        let (kind, sector) = self.header(chain)?;
        let payload = chain.readable_len().saturating_sub(HEADER as u64);
        match kind {
            READ => {
                let offset = self.place(sector, room)?;
                let slices = chain.writable(self.memory, 0, room)?;
                self.disk.read(offset, &segments(&slices))?;
                self.traffic.read(room);
                Ok(room)
            }
            WRITE => {
                self.refuse_read_only()?;
                let offset = self.place(sector, payload)?;
                let slices = chain.readable(self.memory, HEADER as u64, payload)?;
                self.disk.write(offset, &segments(&slices))?;
                self.settle(passage)?;
                self.traffic.written(payload);
                Ok(0)
            }
            4 => {
                self.flush(passage)?;
                self.traffic.flushed();
                Ok(0)
            }
            8 => {
                let len = room.min(ID as u64);
                let id = self
                    .serial
                    .0
                    .get(..usize::try_from(len).unwrap_or(ID))
                    .unwrap_or_default();
                chain.write_at(self.memory, 0, id)?;
                Ok(len)
            }
            kind @ (11 | 13) => {
                self.refuse_read_only()?;
                self.ranges(chain, payload, kind)?;
                self.settle(passage)?;
                self.traffic.discarded();
                Ok(0)
            }
            _ => Err(Failure::Unsupported),
        }
    }

    /// Makes durable what was written before. The gate does not wait for it, since the host may take long: a flush moves
    /// none of the guest's data, and what was done before it is covered whichever layers it lies in.
    fn flush(&self, passage: &mut Option<Passage<'_>>) -> Result<(), DiskError> {
        *passage = None;
        self.disk.flush()
    }

    /// What follows a change of the disk, before it is told to be done. The gate does not wait for that either. If what has
    /// gathered cannot be written out, the change is done all the same: a flush tells.
    fn settle(&self, passage: &mut Option<Passage<'_>>) -> Result<(), DiskError> {
        if self.write_through {
            return self.flush(passage);
        }
        *passage = None;
        if let Err(error) = self.disk.settle() {
            tracing::debug!(%error, "what waits in memory could not be written out");
        }
        Ok(())
    }

    fn refuse_read_only(&self) -> Result<(), Failure> {
        if self.read_only {
            Err(Failure::Malformed("write to a read-only disk"))
        } else {
            Ok(())
        }
    }

    /// The byte offset of `sector`, if `len` bytes from there are whole sectors of the disk.
    fn place(&self, sector: u64, len: u64) -> Result<u64, Failure> {
        if !len.is_multiple_of(SECTOR) {
            return Err(Failure::Malformed("data is no multiple of 512 bytes"));
        }
        if len > MAX_DATA {
            return Err(Failure::Malformed("more than 64 MiB of data"));
        }
        let offset = sector.checked_mul(SECTOR);
        offset
            .filter(|offset| offset.checked_add(len).is_some_and(|end| end <= self.disk.size()))
            .ok_or(Failure::Malformed("beyond the end of the disk"))
    }

    /// Discard (11) and write-zeroes (13) of ranges, all checked before the first is done.
    fn ranges(&self, chain: &Chain, payload: u64, kind: u32) -> Result<(), Failure> {
        let bytes = usize::try_from(payload).unwrap_or(usize::MAX);
        let most = if kind == 13 { ZEROES.most } else { DISCARDS.most };
        if bytes == 0 || !bytes.is_multiple_of(RANGE) || bytes > RANGE.saturating_mul(most as usize) {
            return Err(Failure::Malformed("number of ranges"));
        }
        let mut buffer = vec![0; bytes];
        chain.read_at(self.memory, HEADER as u64, &mut buffer)?;
        let ranges = buffer.chunks_exact(RANGE).map(|range| self.range(range, kind));
        let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
        for (offset, len, unmap) in ranges {
            match kind {
                11 => self.disk.discard(offset, len)?,
                _ => self.disk.write_zeroes(offset, len, unmap)?,
            }
        }
        Ok(())
    }

    fn range(&self, bytes: &[u8], kind: u32) -> Result<(u64, u64, Unmap), Failure> {
        let bytes: [u8; RANGE] = bytes.try_into().map_err(|_| Failure::Malformed("range"))?;
        let [sector @ .., n0, n1, n2, n3, f0, f1, f2, f3] = bytes;
        let sector = u64::from_le_bytes(sector);
        let count = u32::from_le_bytes([n0, n1, n2, n3]);
        let unmap = match (u32::from_le_bytes([f0, f1, f2, f3]), kind) {
            (0, _) => Unmap::Forbidden,
            (1, 13) => Unmap::Allowed,
            _ => return Err(Failure::Unsupported),
        };
        let most = if kind == 13 {
            ZEROES.sectors
        } else {
            DISCARDS.sectors
        };
        if count > most {
            return Err(Failure::Malformed("a range of too many sectors"));
        }
        let len = u64::from(count).saturating_mul(SECTOR);
        let offset = sector
            .checked_mul(SECTOR)
            .filter(|offset| offset.checked_add(len).is_some_and(|end| end <= self.disk.size()))
            .ok_or(Failure::Malformed("beyond the end of the disk"))?;
        Ok((offset, len, unmap))
    }
}

/// The same memory in the terms of the disk.
fn segments<'m>(slices: &[Slice<'m>]) -> Vec<Segment<'m>> {
    let segment = |slice: &Slice<'m>| {
        let start = slice.ptr_guard_mut().as_ptr();
        // SAFETY: the slice lies within a region of guest memory, which is mapped readable and writable
        // for 'm (devices hold the regions), and of which no Rust references are ever made.
        unsafe { Segment::from_raw(start, slice.len()) }
    };
    slices.iter().map(segment).collect()
}
