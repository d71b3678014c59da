//! A descriptor chain, read once and checked (2.7.5).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io;

use virtio_queue::desc::split::Descriptor;
use vm_memory::bitmap::BS;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

use super::{GuestMemory, QueueError};

/// A slice of guest memory that other threads and the guest may write at the same time.
pub type Slice<'m> = VolatileSlice<'m, BS<'m, ()>>;

/// Bytes of a descriptor.
const DESCRIPTOR: u32 = size_of::<Descriptor>() as u32;

/// One piece of guest memory that the driver lent to the device. Where it lies is the driver's word; it
/// is checked against guest memory when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Guest physical address.
    pub address: GuestAddress,
    /// Bytes; may be 0.
    pub len: u32,
}

/// What the driver made available by one entry of the ring.
///
/// Every descriptor was copied out of guest memory exactly once, so a driver that rewrites it meanwhile
/// changes nothing. There are at most as many buffers as the queue has entries; their lengths may add up to
/// any sum, so each device bounds what one request makes it do.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    head: u16,
    readable: Vec<Buffer>,
    writable: Vec<Buffer>,
}

/// Where descriptors are read from.
struct Table {
    address: GuestAddress,
    len: u16,
}

impl Table {
    fn descriptor(&self, memory: &GuestMemory, index: u16) -> Result<Descriptor, QueueError> {
        if index >= self.len {
            return Err(QueueError::IndexBeyondTable { index, len: self.len });
        }
        // 16 bytes each and at most 2^16 of them.
        let offset = u64::from(index).saturating_mul(DESCRIPTOR.into());
        let address = self.address.0.checked_add(offset).map(GuestAddress);
        address
            .and_then(|address| memory.read_obj(address).ok())
            .ok_or(QueueError::TableOutsideMemory {
                address: self.address.0,
            })
    }
}

impl Chain {
    /// Reads the chain that starts at `head` of a ring's descriptor table.
    ///
    /// Looks at no more than `size` descriptors plus one that refers to an indirect table, which may come first or after
    /// others (2.7.5.3.2).
    pub(super) fn read(
        memory: &GuestMemory,
        table: GuestAddress,
        size: u16,
        head: u16,
        indirect: Indirect,
    ) -> Result<Self, QueueError> {
        let mut chain = Self {
            head,
            ..Self::default()
        };
        let mut table = Table {
            address: table,
            len: size,
        };
        let mut nested = false;
        let mut index = head;
        let mut steps: u16 = 0;
        loop {
            let descriptor = table.descriptor(memory, index)?;
            if descriptor.refers_to_indirect_table() {
                if indirect == Indirect::Refused || nested || descriptor.has_next() {
                    return Err(QueueError::IndirectMisused);
                }
                let entries = descriptor.len().checked_div(DESCRIPTOR).unwrap_or(0);
                let whole = descriptor.len().is_multiple_of(DESCRIPTOR);
                // A table longer than the queue is the driver's error (2.7.5.3.1).
                let len = u16::try_from(entries)
                    .ok()
                    .filter(|n| whole && (1..=size).contains(n));
                let len = len.ok_or(QueueError::IndirectLength {
                    bytes: descriptor.len(),
                })?;
                table = Table {
                    address: descriptor.addr(),
                    len,
                };
                nested = true;
                index = 0;
                continue;
            }
            steps = steps.saturating_add(1);
            if steps > size {
                return Err(QueueError::ChainTooLong { size });
            }
            let buffer = Buffer {
                address: descriptor.addr(),
                len: descriptor.len(),
            };
            if descriptor.is_write_only() {
                chain.writable.push(buffer);
            } else if chain.writable.is_empty() {
                chain.readable.push(buffer);
            } else {
                return Err(QueueError::ReadableAfterWritable);
            }
            if !descriptor.has_next() {
                return Ok(chain);
            }
            index = descriptor.next();
        }
    }

    /// Index of the first descriptor: the chain's name in the used ring.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// What the device may write, as the driver described it: nothing of it was looked at yet.
    pub fn lent(&self) -> &[Buffer] {
        &self.writable
    }

    /// Bytes that the device may read.
    pub fn readable_len(&self) -> u64 {
        total(&self.readable)
    }

    /// Bytes that the device may write.
    pub fn writable_len(&self) -> u64 {
        total(&self.writable)
    }

    /// Copies `to.len()` bytes out of the readable part, from `offset` on.
    ///
    /// # Errors
    /// The part is shorter, or lies outside guest memory.
    pub fn read_at(&self, memory: &GuestMemory, offset: u64, to: &mut [u8]) -> Result<(), QueueError> {
        let mut rest = to;
        for slice in slices(memory, &self.readable, offset, rest.len() as u64)? {
            let count = slice.copy_to(rest);
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Copies `from` into the writable part, at `offset`.
    ///
    /// # Errors
    /// The part is shorter, or lies outside guest memory.
    pub fn write_at(&self, memory: &GuestMemory, offset: u64, from: &[u8]) -> Result<(), QueueError> {
        let mut rest = from;
        for slice in slices(memory, &self.writable, offset, rest.len() as u64)? {
            slice.copy_from(rest);
            rest = rest.get(slice.len()..).unwrap_or_default();
        }
        Ok(())
    }

    /// The host's view of `len` readable bytes from `offset` on.
    ///
    /// # Errors
    /// The part is shorter, or lies outside guest memory.
    pub fn readable<'m>(
        &self,
        memory: &'m GuestMemory,
        offset: u64,
        len: u64,
    ) -> Result<Vec<Slice<'m>>, QueueError> {
        slices(memory, &self.readable, offset, len)
    }

    /// The host's view of `len` writable bytes from `offset` on.
    ///
    /// # Errors
    /// The part is shorter, or lies outside guest memory.
    pub fn writable<'m>(
        &self,
        memory: &'m GuestMemory,
        offset: u64,
        len: u64,
    ) -> Result<Vec<Slice<'m>>, QueueError> {
        slices(memory, &self.writable, offset, len)
    }
}

/// Whether the driver may use indirect tables: `INDIRECT_DESC` was negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indirect {
    Allowed,
    Refused,
}

fn total(buffers: &[Buffer]) -> u64 {
    buffers
        .iter()
        .fold(0, |sum, buffer| sum.saturating_add(buffer.len.into()))
}

fn slices<'m>(
    memory: &'m GuestMemory,
    buffers: &[Buffer],
    offset: u64,
    len: u64,
) -> Result<Vec<Slice<'m>>, QueueError> {
    let mut skip = offset;
    let mut want = len;
    let mut found = Vec::new();
    for buffer in buffers {
        if want == 0 {
            break;
        }
        let buffer_len = u64::from(buffer.len);
        let Some(available) = buffer_len.checked_sub(skip).filter(|n| *n > 0) else {
            skip = skip.saturating_sub(buffer_len);
            continue;
        };
        let count = available.min(want);
        let outside = || QueueError::BufferOutsideMemory {
            address: buffer.address.0,
            len: buffer.len,
        };
        let start = buffer.address.0.checked_add(skip).ok_or_else(outside)?;
        let size = usize::try_from(count).map_err(|_| outside())?;
        // The whole range first: a buffer that begins in memory and ends outside is refused before a
        // byte of it is touched.
        if !GuestMemoryBackend::check_range(memory, GuestAddress(start), size) {
            return Err(outside());
        }
        for piece in GuestMemoryBackend::get_slices(memory, GuestAddress(start), size) {
            found.push(piece.map_err(|_| outside())?);
        }
        skip = 0;
        want = want.saturating_sub(count);
    }
    if want > 0 {
        return Err(QueueError::ChainTooShort {
            wanted: offset.saturating_add(len),
        });
    }
    Ok(found)
}

impl From<QueueError> for io::Error {
    fn from(error: QueueError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}
