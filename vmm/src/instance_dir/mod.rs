//! An instance's folder: the files in it, opened without following a link, and its lock.
//!
//! Everything of one machine lies flat in one folder, and both halves (the machine's processes
//! and the client) reach it only through a descriptor of that folder. The folder may have been
//! prepared by someone hostile: a name in it that is a symbolic link, a hard link to a file
//! elsewhere, a FIFO or a device is refused, never followed.

mod lock;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

pub use lock::Lock;
pub(crate) use lock::Occupant;
use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags};

/// The lock's file: held by the parent and the VMM, freed when both are gone.
pub const LOCK: &str = "lock";
/// The machine's specification.
pub const SPEC: &str = "spec.json";
/// The control socket.
pub const CONTROL_SOCKET: &str = "control.sock";
/// The guest agent's socket.
pub const AGENT_SOCKET: &str = "agent.sock";
/// What the guest's consoles print.
pub const CONSOLE_LOG: &str = "console.log";
/// What the VMM itself has to say.
pub const VMM_LOG: &str = "vmm.log";

/// Why something in an instance's folder could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirError {
    /// A system call on a named file failed.
    #[error("cannot {verb} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is of a kind that has no place in the folder.
    #[error("{} is {what}: refused, since an instance's folder holds plain files of its own only", .path.display())]
    NotPlain {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// Another machine runs in the folder.
    #[error("a machine is running in {} already", .0.display())]
    Locked(PathBuf),
    /// The file is not what its name promises.
    #[error("{} is damaged: {message}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

/// An open instance folder.
#[derive(Debug)]
pub struct InstanceDir {
    fd: OwnedFd,
    path: PathBuf,
}

/// Room in the folder for a file that is still to be written.
#[derive(Debug)]
pub(crate) struct Reserved {
    name: &'static str,
    new: String,
    file: File,
}

impl InstanceDir {
    /// Opens the folder at `path`, which must be a folder and no link to one.
    ///
    /// # Errors
    /// It does not exist, or is something else.
    pub fn open(path: &Path) -> Result<Self, DirError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| DirError::Io {
            verb: "open the folder",
            path: path.to_owned(),
            source: errno.into(),
        })?;
        // It is to mean the same after a change of the working folder.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { fd, path })
    }

    /// The path it was opened by, made absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A short path of `name` in this folder, for socket addresses: the kernel's limit is 108
    /// bytes (`sun_path`, unix(7)), and a folder's own path may be longer.
    pub fn short_path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd()))
    }

    /// Opens an existing plain file for reading; `None` if there is none.
    ///
    /// # Errors
    /// It is not a plain file of this folder alone, or cannot be opened.
    pub fn open_existing(&self, name: &str) -> Result<Option<File>, DirError> {
        // A FIFO would block the open without NONBLOCK, and is refused right after.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => self.plain(name, File::from(fd)).map(Some),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.refused(name, errno)),
        }
    }

    /// Opens a plain file for writing at its end, made (0600) if it is not there.
    ///
    /// # Errors
    /// As [`Self::open_existing`].
    pub fn open_log(&self, name: &str) -> Result<File, DirError> {
        self.open_or_create(name, OFlags::RDWR | OFlags::APPEND)
    }

    /// Opens a plain file for reading and writing anywhere, made (0600) if it is not there.
    ///
    /// # Errors
    /// As [`Self::open_existing`].
    pub fn open_writable(&self, name: &str) -> Result<File, DirError> {
        self.open_or_create(name, OFlags::RDWR)
    }

    fn open_or_create(&self, name: &str, access: OFlags) -> Result<File, DirError> {
        let flags = access | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.refused(name, errno))?;
        self.plain(name, File::from(fd))
    }

    /// The bytes of a plain file of at most `limit` bytes; `None` if there is none.
    ///
    /// # Errors
    /// As [`Self::open_existing`]; or it is longer.
    pub fn read_file(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, DirError> {
        let Some(file) = self.open_existing(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|source| self.io("read", name, source))?;
        if u64::try_from(bytes.len()).is_ok_and(|len| len <= limit) {
            Ok(Some(bytes))
        } else {
            Err(self.malformed(name, &format!("it is longer than {limit} bytes")))
        }
    }

    /// Takes room for a file that will be put at `name` later, so that a disk that is full by then
    /// does not matter. Nothing is at `name` yet.
    ///
    /// # Errors
    /// The file cannot be made, or there is no room.
    pub(crate) fn reserve(&self, name: &'static str, room: u64) -> Result<Reserved, DirError> {
        let new = format!("{name}.new");
        self.remove(&new)?;
        // EXCL: what appears there in between is not ours to write to, link or not.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, &*new, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.refused(&new, errno))?;
        match rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, room) {
            // Where files cannot be given room in advance they are written as any other.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(errno) => return Err(self.io("take room for", &new, errno.into())),
        }
        Ok(Reserved {
            name,
            new,
            file: File::from(fd),
        })
    }

    /// Puts `bytes` at the place of `reserved`: synced, then renamed into place, then the folder
    /// synced.
    ///
    /// # Errors
    /// Any step fails; what was there before still is.
    pub(crate) fn fill(&self, reserved: Reserved, bytes: &[u8]) -> Result<(), DirError> {
        let Reserved { name, new, mut file } = reserved;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        file.write_all(bytes)
            .and_then(|()| file.set_len(length))
            .map_err(|source| self.io("write", &new, source))?;
        file.sync_all().map_err(|source| self.io("sync", &new, source))?;
        rustix::fs::renameat(&self.fd, &*new, &self.fd, name)
            .map_err(|errno| self.io("rename into place", &new, errno.into()))?;
        rustix::fs::fsync(&self.fd).map_err(|errno| self.io("sync the folder of", name, errno.into()))
    }

    /// Removes `name`, whatever it is but a folder; nothing to remove is no error.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), DirError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.io("remove", name, errno.into())),
        }
    }

    /// Makes a listening socket at `name`, in place of what was left there, for this user only
    /// (whoever connects is asked for his identity, too).
    ///
    /// # Errors
    /// `name` is a folder, or no socket is to be had.
    pub fn listen(&self, name: &str) -> Result<UnixListener, DirError> {
        self.remove(name)?;
        UnixListener::bind(self.short_path(name)).map_err(|source| self.io("listen on", name, source))
    }

    /// The file if it is a plain one that has no other name, and blocking again.
    fn plain(&self, name: &str, file: File) -> Result<File, DirError> {
        let stat = rustix::fs::fstat(&file).map_err(|errno| self.io("look at", name, errno.into()))?;
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_nlink == 1 => {
                rustix::fs::fcntl_getfl(&file)
                    .and_then(|flags| rustix::fs::fcntl_setfl(&file, flags.difference(OFlags::NONBLOCK)))
                    .map_err(|errno| self.io("set up", name, errno.into()))?;
                return Ok(file);
            }
            FileType::RegularFile => "a hard link to a file that has another name, too",
            FileType::Directory => "a folder",
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        Err(DirError::NotPlain {
            path: self.path.join(name),
            what,
        })
    }

    fn refused(&self, name: &str, errno: rustix::io::Errno) -> DirError {
        let what = match errno {
            rustix::io::Errno::LOOP => "a symbolic link",
            rustix::io::Errno::NXIO => "a socket or a FIFO",
            rustix::io::Errno::ISDIR => "a folder",
            _ => return self.io("open", name, errno.into()),
        };
        DirError::NotPlain {
            path: self.path.join(name),
            what,
        }
    }

    pub(crate) fn io(&self, verb: &'static str, name: &str, source: io::Error) -> DirError {
        DirError::Io {
            verb,
            path: self.path.join(name),
            source,
        }
    }

    pub(crate) fn malformed(&self, name: &str, message: &dyn std::fmt::Display) -> DirError {
        DirError::Malformed {
            path: self.path.join(name),
            message: message.to_string(),
        }
    }
}

impl AsFd for InstanceDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
pub(crate) mod tests;
