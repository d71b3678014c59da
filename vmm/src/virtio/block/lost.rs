//! A disk that was taken away under its guest: every request fails.

use std::io;

use kiln_imagefmt::{Disk, DiskError, Segment, Unmap};

/// What is left of it: how it looked.
#[derive(Debug)]
pub(super) struct Lost {
    size: u64,
    read_only: bool,
}

impl Lost {
    /// One that looks like `disk`.
    pub(super) fn of(disk: &dyn Disk) -> Self {
        Self {
            size: disk.size(),
            read_only: disk.is_read_only(),
        }
    }

    fn fails<T>(operation: &'static str, offset: u64) -> Result<T, DiskError> {
        Err(DiskError::Io {
            path: "a disk that was taken away".into(),
            operation,
            offset,
            source: io::Error::from_raw_os_error(libc::ENODEV),
        })
    }
}

impl Disk for Lost {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, _: &[Segment<'_>]) -> Result<(), DiskError> {
        Self::fails("read", offset)
    }

    fn write(&self, offset: u64, _: &[Segment<'_>]) -> Result<(), DiskError> {
        Self::fails("write", offset)
    }

    fn flush(&self) -> Result<(), DiskError> {
        Self::fails("sync", 0)
    }

    fn discard(&self, offset: u64, _: u64) -> Result<(), DiskError> {
        Self::fails("discard", offset)
    }

    fn write_zeroes(&self, offset: u64, _: u64, _: Unmap) -> Result<(), DiskError> {
        Self::fails("write zeroes", offset)
    }
}
