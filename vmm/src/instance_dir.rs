//! An instance's folder: the files in it, opened without following a link, and its lock.
//!
//! Everything of one machine lies flat in one folder, and both halves (the machine's processes
//! and the client) reach it only through a descriptor of that folder. The folder may have been
//! prepared by someone hostile: a name in it that is a symbolic link, a hard link to a file
//! elsewhere, a FIFO or a device is refused, never followed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

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

/// Readers of the lock hold it for an instant: a starter tries again this long.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

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

/// Who last took the lock: what `lock` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Occupant {
    /// The parent's process id.
    pub(crate) pid: u32,
    /// The host's boot, from `/proc/sys/kernel/random/boot_id`.
    boot_id: String,
    /// When it started, in milliseconds since 1970.
    unix_ms: u64,
}

impl Occupant {
    fn this_process() -> Self {
        let unix_ms = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .ok()
            .and_then(|since| u64::try_from(since.as_millis()).ok())
            .unwrap_or(0);
        Self {
            pid: std::process::id(),
            boot_id: boot_id(),
            unix_ms,
        }
    }

    pub(crate) fn is_of_this_boot(&self) -> bool {
        self.boot_id == boot_id()
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
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

/// The lock, held until this (and every copy that a child process inherited) is gone.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Writes down who holds the lock, once there is nothing left that would stop the start.
    pub(crate) fn record_occupant(&self, dir: &InstanceDir) -> Result<(), DirError> {
        let text =
            serde_json::to_vec(&Occupant::this_process()).map_err(|error| dir.malformed(LOCK, &error))?;
        let mut file = &self.0;
        rustix::fs::ftruncate(file, 0)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(&text))
            .map_err(|source| dir.io("write", LOCK, source))
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
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

    /// Takes the lock. Others who only look hold it for an instant, so it is tried for a while.
    ///
    /// # Errors
    /// [`DirError::Locked`] if a machine runs here.
    pub(crate) fn lock(&self) -> Result<Lock, DirError> {
        let file = self.open_writable(LOCK)?;
        let started = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if started.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(DirError::Locked(self.path.clone())),
                Err(errno) => return Err(self.io("lock", LOCK, errno.into())),
            }
        }
        let lock = Lock(file);
        lock.record_occupant(self)?;
        Ok(lock)
    }

    /// Whether a machine (its parent or its VMM) holds the lock.
    ///
    /// # Errors
    /// The lock's file cannot be opened or is not a plain file.
    pub fn is_locked(&self) -> Result<bool, DirError> {
        let Some(file) = self.open_existing(LOCK)? else {
            return Ok(false);
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(errno) => Err(self.io("test the lock", LOCK, errno.into())),
        }
    }

    /// Who last took the lock; `None` if nobody ever did.
    pub(crate) fn last_occupant(&self) -> Result<Option<Occupant>, DirError> {
        let Some(text) = self.read_file(LOCK, 4096)? else {
            return Ok(None);
        };
        if text.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| self.malformed(LOCK, &error))
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
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, InstanceDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = InstanceDir::open(folder.path()).unwrap();
        (folder, dir)
    }

    /// What every kind of hostile name must be answered with, whatever file it stands for.
    fn refused(dir: &InstanceDir, name: &str) {
        assert!(dir.open_log(name).is_err(), "{name} was opened for writing");
        assert!(dir.read_file(name, 100).is_err(), "{name} was read");
    }

    #[test]
    fn hazard_links_in_a_prepared_folder_are_refused_and_the_canary_is_untouched() {
        let (folder, dir) = folder();
        let outside = tempfile::tempdir().unwrap();
        let canary = outside.path().join("canary");
        std::fs::write(&canary, "alive").unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        std::fs::hard_link(&canary, folder.path().join("hard")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("fifo"),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        for name in [LOCK, CONSOLE_LOG, VMM_LOG, SPEC, "exit.json", "exit.json.new"] {
            std::os::unix::fs::symlink(&canary, folder.path().join(name)).unwrap();
            refused(&dir, name);
        }
        for name in ["hard", "fifo", "socket", "folder"] {
            refused(&dir, name);
        }
        assert!(dir.lock().is_err());
        // Files that are replaced take the link's place; what it points to stays.
        let room = dir.reserve("exit.json", 100).unwrap();
        dir.fill(room, b"{}").unwrap();
        assert_eq!(std::fs::read(folder.path().join("exit.json")).unwrap(), b"{}");
        assert_eq!(std::fs::read(&canary).unwrap(), b"alive");
    }

    #[test]
    fn hazard_a_folder_that_is_a_link_is_refused() {
        let (folder, _dir) = folder();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(InstanceDir::open(&link).is_err());
    }

    #[test]
    fn hazard_a_socket_takes_the_place_of_a_link_and_not_what_it_points_to() {
        let (folder, dir) = folder();
        let canary = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(canary.path(), folder.path().join(CONTROL_SOCKET)).unwrap();
        let _listener = dir.listen(CONTROL_SOCKET).unwrap();
        assert!(canary.path().is_file());
        std::os::unix::net::UnixStream::connect(folder.path().join(CONTROL_SOCKET)).unwrap();
        let again = dir.listen(CONTROL_SOCKET).unwrap();
        drop(again);
    }

    #[test]
    fn a_lock_is_seen_by_others_until_it_is_dropped() {
        let (_folder, dir) = folder();
        assert!(!dir.is_locked().unwrap());
        let lock = dir.lock().unwrap();
        assert!(dir.is_locked().unwrap());
        drop(lock);
        assert!(!dir.is_locked().unwrap());
    }

    #[test]
    fn a_second_machine_in_one_folder_is_refused() {
        let (_folder, dir) = folder();
        let _lock = dir.lock().unwrap();
        assert!(matches!(dir.lock(), Err(DirError::Locked(_))));
    }

    #[test]
    fn a_file_longer_than_the_limit_is_not_loaded() {
        let (folder, dir) = folder();
        std::fs::write(folder.path().join("long"), [0; 11]).unwrap();
        assert!(dir.read_file("long", 10).is_err());
        assert_eq!(dir.read_file("long", 11).unwrap().unwrap().len(), 11);
    }
}
