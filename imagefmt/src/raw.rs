//! A raw file as a disk: byte N of the disk is byte N of the file.

use std::fs::File;
use std::sync::Arc;

use crate::disk::{Access, Disk, Segment, Unmap, check_range, is_whole_pages};
use crate::error::DiskError;
use crate::io::{FileStorage, Host, Span};

/// Zeroes written in one piece.
static ZEROES: [u8; 65536] = [0; 65536];

/// A raw disk image. Its format is what the caller says, never what its bytes look like.
#[derive(Debug)]
pub struct RawDisk {
    host: Host,
    size: u64,
    access: Access,
}

impl RawDisk {
    /// Takes an open file whose length is a multiple of 512 bytes.
    pub fn open(file: File, access: Access) -> Result<Self, DiskError> {
        let name = crate::io::file_name(&file).unwrap_or_else(|| "raw disk".into());
        let host = Host::new(Arc::new(FileStorage::new(file)), &name);
        let size = host.length()?;
        if !size.is_multiple_of(512) || size == 0 {
            let reason = format!("{size} bytes are no disk: a raw image is a multiple of 512 bytes long");
            return Err(DiskError::Chain { path: name, reason });
        }
        if access == Access::ReadWrite {
            crate::lock::lock_writer(&host)?;
        } else {
            crate::lock::lock_reader(&host)?;
        }
        Ok(Self { host, size, access })
    }

    fn check(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        check_range(self.size, offset, len)
    }

    fn check_writable(&self) -> Result<(), DiskError> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(DiskError::ReadOnly {
                path: self.host.name().to_string(),
            }),
        }
    }
}

impl Drop for RawDisk {
    fn drop(&mut self) {
        crate::lock::unlock(&self.host);
    }
}

impl Disk for RawDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    fn read(&self, offset: u64, to: &[Segment<'_>]) -> Result<(), DiskError> {
        let span = Span::new(to);
        self.check(offset, span.len() as u64)?;
        self.host.read_or_zero(offset, span)
    }

    fn read_cached(&self, offset: u64, to: &[Segment<'_>]) -> Result<bool, DiskError> {
        let span = Span::new(to);
        self.check(offset, span.len() as u64)?;
        self.host.read_cached(offset, span)
    }

    fn write(&self, offset: u64, from: &[Segment<'_>]) -> Result<(), DiskError> {
        self.check_writable()?;
        let span = Span::new(from);
        self.check(offset, span.len() as u64)?;
        self.host.write(offset, span)
    }

    fn needs_no_read(&self, offset: u64, len: u64) -> bool {
        is_whole_pages(offset, len)
    }

    fn flush(&self) -> Result<(), DiskError> {
        if self.is_read_only() {
            Ok(())
        } else {
            self.host.sync()
        }
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.check_writable()?;
        self.check(offset, len)?;
        if len == 0 {
            Ok(())
        } else {
            self.host.punch_hole(offset, len)
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: Unmap) -> Result<(), DiskError> {
        if unmap == Unmap::Allowed {
            return self.discard(offset, len);
        }
        self.check_writable()?;
        self.check(offset, len)?;
        let end = offset.saturating_add(len);
        let mut at = offset;
        while at < end {
            let now = (end - at).min(ZEROES.len() as u64);
            self.host
                .write_bytes(at, ZEROES.get(..now as usize).unwrap_or_default())?;
            at += now;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DiskErrorKind, read_exact_at, write_all_at};

    fn disk(access: Access) -> RawDisk {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        RawDisk::open(file, access).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_zeroes_are_zeroes() {
        let disk = disk(Access::ReadWrite);
        write_all_at(&disk, 1000, &[7; 5000]).unwrap();
        disk.write_zeroes(2000, 1000, Unmap::Forbidden).unwrap();
        disk.write_zeroes(4000, 1000, Unmap::Allowed).unwrap();
        disk.discard(1000, 8).unwrap();
        disk.flush().unwrap();
        let mut all = vec![0; 8192];
        read_exact_at(&disk, 0, &mut all).unwrap();
        let want = |at: usize| matches!(at, 1008..2000 | 3000..4000 | 5000..6000);
        assert!(
            all.iter()
                .enumerate()
                .all(|(at, byte)| *byte == if want(at) { 7 } else { 0 })
        );
    }

    #[test]
    fn requests_beyond_the_end_and_writes_to_a_read_only_disk_fail() {
        let disk = disk(Access::ReadOnly);
        let beyond = read_exact_at(&disk, (1 << 20) - 1, &mut [0; 2]).unwrap_err();
        assert_eq!(beyond.kind(), DiskErrorKind::OutOfRange);
        assert_eq!(
            write_all_at(&disk, 0, &[0; 2]).unwrap_err().kind(),
            DiskErrorKind::ReadOnly
        );
        assert_eq!(
            disk.discard(u64::MAX, 2).unwrap_err().kind(),
            DiskErrorKind::ReadOnly
        );
    }
}
