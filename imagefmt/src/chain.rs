//! N qcow2 layers as one disk; only the top one is ever written.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::disk::{Access, Disk, Segment, Unmap};
use crate::error::DiskError;

/// The deepest chain that is opened.
pub const MAX_DEPTH: usize = 256;

/// A chain of qcow2 layers: the disk that a guest sees.
#[derive(Debug)]
pub struct Chain;

/// A checked, empty overlay that is ready to become the top.
#[derive(Debug)]
pub struct Prepared;

/// The former top after a [`Chain::swap`], until it is durable.
#[derive(Debug)]
#[must_use = "the old top is not durable before `Chain::sync_sealing`"]
pub struct Sealing;

fn not_yet<T>() -> Result<T, DiskError> {
    let source = io::ErrorKind::Unsupported.into();
    Err(DiskError::Io { path: "qcow2".into(), operation: "open", offset: 0, source })
}

impl Chain {
    /// Opens the chain whose top is `top`: resolves the backing names in its folder, opens each file without
    /// following links, and then as [`Chain::open`].
    pub fn open_path(_top: &Path, _access: Access) -> Result<Self, DiskError> {
        not_yet()
    }

    /// Opens a chain of files that are already open, from the bottom to the top. Every header is checked,
    /// that each layer names the one below it, and that no file occurs twice. With [`Access::ReadWrite`] the
    /// top must be open for writing; the others may be read-only.
    pub fn open(_files: Vec<File>, _access: Access) -> Result<Self, DiskError> {
        not_yet()
    }

    /// Checks a new, empty overlay of the same size that names the present top as its backing file.
    pub fn prepare(&self, _overlay: File) -> Result<Prepared, DiskError> {
        not_yet()
    }

    /// Makes the overlay the top. It cannot fail, does no system call and costs the same for any disk; waits
    /// for requests in flight. From now on writes go to the new top; until the old one is durable a
    /// [`Disk::flush`] covers both.
    pub fn swap(&self, _prepared: Prepared) -> Sealing {
        Sealing
    }

    /// Makes the old top durable; it is complete and will not change any more.
    pub fn sync_sealing(&self, _sealing: Sealing) -> Result<(), DiskError> {
        not_yet()
    }

    /// Grows the disk to `size` bytes, durably.
    pub fn grow(&self, _size: u64) -> Result<(), DiskError> {
        not_yet()
    }
}

impl Disk for Chain {
    fn size(&self) -> u64 {
        0
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&self, _offset: u64, _to: &[Segment<'_>]) -> Result<(), DiskError> {
        not_yet()
    }

    fn write(&self, _offset: u64, _from: &[Segment<'_>]) -> Result<(), DiskError> {
        not_yet()
    }

    fn flush(&self) -> Result<(), DiskError> {
        not_yet()
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<(), DiskError> {
        not_yet()
    }

    fn write_zeroes(&self, _offset: u64, _len: u64, _unmap: Unmap) -> Result<(), DiskError> {
        not_yet()
    }
}
