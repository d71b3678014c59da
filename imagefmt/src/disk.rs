//! The block interface: what a virtual disk is to whoever reads and writes it.

pub use crate::error::{DiskError, DiskErrorKind};
pub use crate::io::{Segment, Span};

/// Whether a file may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads only.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

/// Whether a write of zeroes may give the space back (virtio 1.2, 5.2.6: `VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmap {
    /// The range may be deallocated, as long as it reads as zeroes.
    Allowed,
    /// What is allocated stays allocated.
    Forbidden,
}

/// A virtual disk.
///
/// Many threads may call it at once; each call is one request and blocks until it is done. Requests that
/// overlap in time and place may take effect in either order, byte by byte, as on a real disk. A write is
/// durable once a [`flush`](Disk::flush) that began after it has returned without an error.
///
/// Offsets and lengths are bytes of any alignment (a device enforces its own logical block size). A request
/// that reaches beyond [`size`](Disk::size) fails as a whole with [`DiskErrorKind::OutOfRange`].
pub trait Disk: Send + Sync {
    /// Size in bytes, a multiple of 512.
    fn size(&self) -> u64;

    /// Whether everything that would change the disk fails with [`DiskErrorKind::ReadOnly`].
    fn is_read_only(&self) -> bool;

    /// Fills the segments with the bytes from `offset` on. After an error their content is undefined.
    fn read(&self, offset: u64, to: &[Segment<'_>]) -> Result<(), DiskError>;

    /// As [`read`](Disk::read), of bytes that the host has in its cache: true if it has all of them, else the content of the
    /// segments is undefined. It waits for none of them, if it may for a table of the disk, or for the host to begin with
    /// reading what it does not have.
    fn read_cached(&self, _offset: u64, _to: &[Segment<'_>]) -> Result<bool, DiskError> {
        Ok(false)
    }

    /// Writes the segments' bytes from `offset` on. After an error the range holds old bytes, new bytes, or
    /// some of each; nothing outside the range is touched.
    fn write(&self, offset: u64, from: &[Segment<'_>]) -> Result<(), DiskError>;

    /// Whether a write there reads none of the disk's bytes: it is of whole pages of what its file has, or no layer has
    /// anything there. The answer may take a look at a table of the disk.
    fn needs_no_read(&self, _offset: u64, _len: u64) -> bool {
        false
    }

    /// Makes durable whatever was written before. Once the host has failed to, every later call fails until the disk is
    /// opened again: what is lost cannot be told from what is not.
    fn flush(&self) -> Result<(), DiskError>;

    /// Writes out what has gathered in memory, if that has become much; takes as long as a [`flush`](Disk::flush) then.
    ///
    /// Nothing is lost without it: a request that finds memory full does it by itself, and is held up by it. Whoever
    /// calls it after each request that changes the disk, of which those in flight discard no more than 1 GiB together, has
    /// none that is. An error takes back nothing that was done: what waits stays in memory, for the next flush to write
    /// out or to tell of.
    fn settle(&self) -> Result<(), DiskError> {
        Ok(())
    }

    /// The caller no longer needs these bytes. Whole clusters read as zeroes afterwards, the rest keeps its
    /// content; older data never comes back.
    fn discard(&self, offset: u64, len: u64) -> Result<(), DiskError>;

    /// Makes the range read as zeroes.
    fn write_zeroes(&self, offset: u64, len: u64, unmap: Unmap) -> Result<(), DiskError>;
}

/// Reads into one slice.
pub fn read_exact_at(disk: &dyn Disk, offset: u64, to: &mut [u8]) -> Result<(), DiskError> {
    disk.read(offset, &[Segment::from_mut(to)])
}

/// Writes one slice.
pub fn write_all_at(disk: &dyn Disk, offset: u64, from: &[u8]) -> Result<(), DiskError> {
    disk.write(offset, &[Segment::from_ref(from)])
}

/// Bytes of a page of the host's cache: what is written of one in part is read first.
const PAGE: u64 = 4096;

/// Whether a write to a file changes pages as a whole.
pub(crate) fn is_whole_pages(offset: u64, len: u64) -> bool {
    offset.is_multiple_of(PAGE) && len.is_multiple_of(PAGE)
}

/// Checks that `offset..offset + len` lies on a disk of `size` bytes.
pub(crate) fn check_range(size: u64, offset: u64, len: u64) -> Result<(), DiskError> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(DiskError::OutOfRange { offset, len, size }),
    }
}
