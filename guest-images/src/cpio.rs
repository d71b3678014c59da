//! Writes a cpio archive in the "newc" format, which is what Linux unpacks as an initramfs
//! (`Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel).
//!
//! An own writer, because an archive made by the `cpio` program of an ordinary user cannot carry
//! device nodes or root's ownership, and the program itself is often not installed.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// File type bits of a mode, as in `stat(2)`.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

/// A newc archive being written; everything in it belongs to root and is of one time.
#[derive(Debug)]
pub struct Archive<W: Write> {
    to: W,
    epoch: u32,
    inode: u32,
    written: u64,
}

impl<W: Write> Archive<W> {
    /// Begins an archive of things of the time `epoch`, in seconds since 1970.
    pub fn new(to: W, epoch: u32) -> Self {
        Self {
            to,
            epoch,
            inode: 0,
            written: 0,
        }
    }

    /// A folder with mode 0755. Folders have to come before what lies in them.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// A regular file with these permission bits.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, REGULAR | permissions, (0, 0), content)
    }

    /// A symbolic link to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes())
    }

    /// A character device, mode 0600.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(path, CHARACTER | 0o600, (major, minor), &[])
    }

    /// Writes the trailer and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        (self.inode, self.epoch) = (0, 0);
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    /// Anything, by the mode of `stat(2)`. The content of a symbolic link is its target.
    pub(crate) fn entry(
        &mut self,
        path: impl AsRef<OsStr>,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        let path = path.as_ref();
        let size = u32::try_from(content.len()).map_err(|_| {
            io::Error::other(format!(
                "{}: a file of 4 GiB or more does not fit into an initramfs",
                path.display()
            ))
        })?;
        self.inode += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let name_size = path.len() + 1;
        let header = format!(
            "070701{:08X}{mode:08X}{uid:08X}{gid:08X}{links:08X}{mtime:08X}{size:08X}{:08X}{:08X}{:08X}{:08X}{name_size:08X}{check:08X}",
            self.inode,
            0,
            0,
            device.0,
            device.1,
            uid = 0,
            gid = 0,
            mtime = self.epoch,
            check = 0,
        );
        self.put(header.as_bytes())?;
        self.put(path.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        self.put(content)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    /// Names and contents each end on a multiple of four.
    fn pad(&mut self) -> io::Result<()> {
        let rest = (4 - self.written % 4) % 4;
        self.put(&[0; 3][..usize::try_from(rest).unwrap_or(0)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new(), 0);
        archive.directory("bin").expect("in memory");
        archive.file("bin/hello", 0o755, b"hello").expect("in memory");
        archive.symlink("bin/hi", "hello").expect("in memory");
        archive.character_device("console", 5, 1).expect("in memory");
        archive.finish().expect("in memory")
    }

    #[test]
    fn every_header_begins_at_a_multiple_of_four() {
        let bytes = sample();
        let starts: Vec<usize> = bytes
            .windows(6)
            .enumerate()
            .filter(|(_, w)| *w == b"070701")
            .map(|(at, _)| at)
            .collect();
        assert_eq!(starts.len(), 5);
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_header_is_110_bytes_and_names_mode_and_size() {
        let bytes = sample();
        let at = bytes
            .windows(9)
            .position(|w| w == b"bin/hello")
            .expect("the name is there");
        let header = std::str::from_utf8(&bytes[at - 110..at]).expect("headers are ASCII");
        assert_eq!(&header[..6], "070701");
        assert_eq!(u32::from_str_radix(&header[14..22], 16), Ok(0o100_755));
        assert_eq!(u32::from_str_radix(&header[54..62], 16), Ok(5));
        assert_eq!(
            u32::from_str_radix(&header[94..102], 16),
            Ok(10),
            "the name with its zero"
        );
    }
}
