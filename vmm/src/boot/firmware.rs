//! Firmware that a machine boots by: its files, open before the sandbox is entered.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use thiserror::Error;

/// Firmware and its variables consist of whole pages, and so of whole blocks of flash.
const PAGE: u64 = 4096;

/// The most bytes of firmware and variables together: what lies between the other fixed addresses and 4 GiB.
pub const MAX_FIRMWARE: u64 = 16 << 20;

/// Firmware.
#[derive(Debug)]
pub struct Firmware {
    /// What is run.
    pub code: Vec<u8>,
    /// UEFI's variables. Without them it is a BIOS.
    pub variables: Option<Variables>,
}

/// A file of UEFI's variables, this machine's alone.
#[derive(Debug)]
pub struct Variables {
    /// The file, open for reading and writing, and locked.
    pub file: File,
    /// Its length in bytes.
    pub len: u64,
}

/// Files that are no firmware.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FirmwareError {
    /// One cannot be opened, read or locked.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// `firmware` or `firmware's variables`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// One of no length that firmware has.
    #[error(
        "{what} {path}: it has {len} bytes; firmware with its variables consists of whole pages of {PAGE} bytes, \
         {max} MiB at most", path = path.display(), max = MAX_FIRMWARE >> 20
    )]
    Length {
        /// `firmware` or `firmware's variables`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
}

impl Firmware {
    /// Opens and reads what a spec names; relative paths are taken from `directory`.
    ///
    /// # Errors
    /// A file is no regular one, is of the wrong length, or is another machine's.
    pub fn open(directory: &Path, code: &Path, variables: Option<&Path>) -> Result<Self, FirmwareError> {
        let code = Part::open("firmware", directory.join(code), false)?;
        let variables = match variables {
            Some(path) => Some(Part::open("firmware's variables", directory.join(path), true)?),
            None => None,
        };
        let all = code.len + variables.as_ref().map_or(0, |part| part.len);
        if all > MAX_FIRMWARE {
            return Err(code.misfit());
        }
        let variables = match variables {
            Some(part) => Some(part.lock()?),
            None => None,
        };
        let mut bytes = vec![0; code.len as usize];
        match code.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(Self {
                code: bytes,
                variables,
            }),
            Err(source) => Err(code.refusal(source)),
        }
    }
}

/// A file of firmware.
struct Part {
    what: &'static str,
    path: PathBuf,
    file: File,
    len: u64,
}

impl Part {
    fn open(what: &'static str, path: PathBuf, writable: bool) -> Result<Self, FirmwareError> {
        let opened = File::options()
            .read(true)
            .write(writable)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&path);
        let found = opened.and_then(|file| {
            let metadata = file.metadata()?;
            match metadata.file_type().is_file() {
                true => Ok((file, metadata.len())),
                false => Err(io::Error::other("it is not a regular file")),
            }
        });
        let part = match found {
            Ok((file, len)) => Self {
                what,
                path,
                file,
                len,
            },
            Err(source) => return Err(FirmwareError::File { what, path, source }),
        };
        let fits = (PAGE..=MAX_FIRMWARE).contains(&part.len) && part.len.is_multiple_of(PAGE);
        if fits { Ok(part) } else { Err(part.misfit()) }
    }

    /// Two machines would each have in memory what the other has not written.
    fn lock(self) -> Result<Variables, FirmwareError> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Variables {
                file: self.file,
                len: self.len,
            }),
            Err(Errno::WOULDBLOCK) => Err(self.refusal(io::Error::other("another machine uses it"))),
            Err(source) => Err(self.refusal(source.into())),
        }
    }

    fn misfit(self) -> FirmwareError {
        let Self { what, path, len, .. } = self;
        FirmwareError::Length { what, path, len }
    }

    fn refusal(self, source: io::Error) -> FirmwareError {
        let Self { what, path, .. } = self;
        FirmwareError::File { what, path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, len) in [
            ("code", 8192),
            ("variables", 4096),
            ("odd", 4097),
            ("none", 0),
            ("huge", MAX_FIRMWARE),
        ] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_len(len).unwrap();
        }
        folder
    }

    fn open(folder: &Path, code: &str, variables: Option<&str>) -> Result<Firmware, String> {
        let opened = Firmware::open(folder, Path::new(code), variables.map(Path::new));
        opened.map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn code_and_variables_are_taken_from_their_files() {
        let folder = folder();
        let firmware = open(folder.path(), "code", Some("variables")).unwrap();
        assert_eq!(
            (firmware.code.len(), firmware.variables.unwrap().len),
            (8192, 4096)
        );
        assert!(open(folder.path(), "huge", None).is_ok());
    }

    #[test]
    fn what_is_no_firmware_is_refused_by_its_name() {
        let folder = folder();
        for (code, variables, named) in [
            ("absent", None, "firmware "),
            (".", None, "not a regular file"),
            ("odd", None, "4097 bytes"),
            ("none", None, "0 bytes"),
            ("code", Some("odd"), "firmware's variables "),
            ("code", Some("absent"), "firmware's variables "),
            ("huge", Some("variables"), "16 MiB at most"),
        ] {
            let refusal = open(folder.path(), code, variables).unwrap_err();
            assert!(refusal.contains(named), "{refusal}");
        }
    }

    #[test]
    fn variables_are_one_machine_s_alone() {
        let folder = folder();
        let first = open(folder.path(), "code", Some("variables")).unwrap();
        let refusal = open(folder.path(), "code", Some("variables")).unwrap_err();
        assert!(refusal.contains("another machine uses it"), "{refusal}");
        drop(first);
        assert!(open(folder.path(), "code", Some("variables")).is_ok());
    }
}
