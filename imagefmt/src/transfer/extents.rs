//! Where a disk has data, as far as that can be told without reading it.

use std::fs::File;
use std::ops::Range;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::chain::Chain;
use crate::disk::DiskError;

/// Tells where data may be.
pub trait Extents {
    /// The next range at or after `from` that may hold anything but zeroes; none if there is none.
    fn next(&self, from: u64) -> Result<Option<Range<u64>>, DiskError>;
}

/// Knows nothing: all of a disk of so many bytes may be data.
#[derive(Debug)]
pub struct Everything(pub u64);

impl Extents for Everything {
    fn next(&self, from: u64) -> Result<Option<Range<u64>>, DiskError> {
        Ok((from < self.0).then_some(from..self.0))
    }
}

impl Extents for Chain {
    fn next(&self, from: u64) -> Result<Option<Range<u64>>, DiskError> {
        self.next_data(from)
    }
}

/// Asks the host's file system where a raw file has holes (`lseek(2)`, `SEEK_DATA`).
#[derive(Debug)]
pub struct SparseFile {
    file: File,
    name: String,
    len: u64,
}

impl SparseFile {
    /// `file` of `len` bytes. Its position is moved; nothing else uses it.
    pub fn new(file: File, name: &str, len: u64) -> SparseFile {
        SparseFile {
            file,
            name: name.into(),
            len,
        }
    }
}

impl Extents for SparseFile {
    fn next(&self, from: u64) -> Result<Option<Range<u64>>, DiskError> {
        if from >= self.len {
            return Ok(None);
        }
        let failed = |errno: Errno| DiskError::Io {
            path: self.name.clone(),
            operation: "look for data",
            offset: from,
            source: errno.into(),
        };
        let start = match seek(&self.file, SeekFrom::Data(from)) {
            Ok(start) => start,
            // No data from here to the end.
            Err(Errno::NXIO) => return Ok(None),
            // The file system does not know: all may be data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(from..self.len)),
            Err(errno) => return Err(failed(errno)),
        };
        let end = match seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(self.len),
            Err(Errno::NXIO) => self.len,
            Err(errno) => return Err(failed(errno)),
        };
        Ok((start < end).then_some(start..end))
    }
}
