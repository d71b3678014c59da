//! The folder's lock: held as long as the parent or the VMM of its machine lives.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::{DirError, InstanceDir, LOCK};

/// Readers of the lock hold it for an instant: a starter tries again this long.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

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
}
