//! A file as back end: positioned, vectored system calls on the caller's memory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Span, Storage};

/// How many pieces go into one system call: of a small request, and of a large one. Linux takes 1024 (`UIO_MAXIOV`); a
/// request of a guest has 254 at most, and a longer list costs only another call.
const FEW: usize = 16;
const MANY: usize = 256;

/// Zeroes are written in pieces of this many bytes where holes cannot be punched.
static ZEROES: [u8; 65536] = [0; 65536];

/// A file on the host.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    /// Its file system does not tell what is in the host's cache.
    tells_no_cache: AtomicBool,
}

impl FileStorage {
    /// Takes the open file; whether it may be written is the caller's affair.
    pub fn new(file: File) -> Self {
        Self {
            file,
            tells_no_cache: AtomicBool::new(false),
        }
    }

    /// Calls `transfer` with the remaining pieces until the span is done or it returns 0.
    fn each(
        &self,
        offset: u64,
        span: Span<'_, '_>,
        transfer: impl Fn(&[libc::iovec], libc::off_t) -> isize,
    ) -> io::Result<usize> {
        if span.pieces().nth(FEW).is_none() {
            self.each_list::<FEW>(offset, span, transfer)
        } else {
            self.each_list::<MANY>(offset, span, transfer)
        }
    }

    /// As [`each`](Self::each), with `PIECES` at once: their list is on the stack.
    fn each_list<const PIECES: usize>(
        &self,
        mut offset: u64,
        span: Span<'_, '_>,
        transfer: impl Fn(&[libc::iovec], libc::off_t) -> isize,
    ) -> io::Result<usize> {
        let mut done = 0;
        while done < span.len() {
            let mut list = [libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            }; PIECES];
            let mut count = 0;
            for (slot, piece) in list.iter_mut().zip(span.part(done, span.len() - done).pieces()) {
                *slot = libc::iovec {
                    iov_base: piece.as_ptr().cast(),
                    iov_len: piece.len(),
                };
                count += 1;
            }
            let at = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
            let moved = transfer(list.get(..count).unwrap_or_default(), at);
            match usize::try_from(moved) {
                Ok(0) => break,
                Ok(moved) => {
                    done += moved;
                    offset = offset.saturating_add(moved as u64);
                }
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error),
                },
            }
        }
        Ok(done)
    }
}

impl Storage for FileStorage {
    fn length(&self) -> io::Result<u64> {
        let metadata = self.file.metadata()?;
        if metadata.is_file() {
            return Ok(metadata.len());
        }
        // A block device has no length of its own; its end can be asked for.
        Ok(rustix::fs::seek(&self.file, rustix::fs::SeekFrom::End(0))?)
    }

    fn read_at(&self, offset: u64, to: Span<'_, '_>) -> io::Result<usize> {
        to.check_target();
        self.each(offset, to, |list, at| {
            // SAFETY: each entry is a piece of a span: memory valid for writing for the time of this call.
            unsafe {
                libc::preadv(
                    self.file.as_raw_fd(),
                    list.as_ptr(),
                    list.len() as libc::c_int,
                    at,
                )
            }
        })
    }

    fn read_cached_at(&self, offset: u64, to: Span<'_, '_>) -> io::Result<usize> {
        to.check_target();
        if self.tells_no_cache.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let got = self.each(offset, to, |list, at| {
            // SAFETY: each entry is a piece of a span: memory valid for writing for the time of this call.
            unsafe {
                libc::preadv2(
                    self.file.as_raw_fd(),
                    list.as_ptr(),
                    list.len() as libc::c_int,
                    at,
                    libc::RWF_NOWAIT,
                )
            }
        });
        match got {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(0),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                self.tells_no_cache.store(true, Ordering::Relaxed);
                Ok(0)
            }
            got => got,
        }
    }

    fn write_at(&self, offset: u64, from: Span<'_, '_>) -> io::Result<()> {
        let done = self.each(offset, from, |list, at| {
            // SAFETY: each entry is a piece of a span: memory valid for reading for the time of this call.
            unsafe {
                libc::pwritev(
                    self.file.as_raw_fd(),
                    list.as_ptr(),
                    list.len() as libc::c_int,
                    at,
                )
            }
        })?;
        if done < from.len() {
            Err(io::ErrorKind::WriteZero.into())
        } else {
            Ok(())
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, offset, len) {
            Ok(()) => Ok(()),
            // A file system without holes: the old bytes must go all the same.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                let end = offset.saturating_add(len).min(self.length()?);
                let mut at = offset;
                while at < end {
                    let now = (end - at).min(ZEROES.len() as u64);
                    self.file
                        .write_all_at(ZEROES.get(..now as usize).unwrap_or_default(), at)?;
                    at += now;
                }
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Segment;

    /// What of the file can be had without waiting: its first bytes, or what the system says.
    fn told(file: &File) -> io::Result<usize> {
        let mut byte = [0_u8];
        let list = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        // SAFETY: the list is of one piece, which is a byte of ours.
        let got = unsafe { libc::preadv2(file.as_raw_fd(), &raw const list, 1, 0, libc::RWF_NOWAIT) };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }

    #[test]
    fn what_was_just_written_is_in_the_cache_wherever_the_file_system_tells() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..100_000).map(|n| (n / 7) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        let tells = told(&file).is_ok();
        let storage = FileStorage::new(file);
        // In one list, in a long one, and in two.
        for cut in [
            100_000,
            100_000 / 16,
            100_000 / 17,
            100_000 / 256,
            100_000 / 257,
            90,
        ] {
            let mut seen = vec![0; bytes.len()];
            let segments: Vec<_> = seen.chunks_mut(cut).map(Segment::from_mut).collect();
            let got = storage.read_cached_at(0, Span::new(&segments)).unwrap();
            drop(segments);
            assert_eq!(
                (got, seen == bytes),
                if tells { (100_000, true) } else { (0, false) },
                "{cut}"
            );
        }
        let mut beyond = [0; 10];
        let segment = [Segment::from_mut(&mut beyond)];
        let got = storage.read_cached_at(99_995, Span::new(&segment)).unwrap();
        assert_eq!(got, if tells { 5 } else { 0 });
    }
}
