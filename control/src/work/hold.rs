//! The lock of an operation, `operations/<id>`: whoever has it is at work on it.
//!
//! The lock comes before the operation's row and its file goes after the row, so a file without a row is of work that
//! has not begun or that is over: if its lock can be had, too, it belongs to nobody ([`remove_leftovers`]).

use crate::catalog::operations;
use crate::{Cloud, Code, Error, OperationId, Result};
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the kernel may take to let go of the locks of a process that is gone: it holds them for a moment longer if
/// somebody looked at the process's files, or if it was about to start a program.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// How often a lock is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// How many new ids are tried. One is taken only if a command that removes leftovers comes upon it while its lock is
/// being made.
const TRIES: usize = 8;

/// A lock that is had.
#[derive(Debug)]
pub(crate) struct Hold {
    path: PathBuf,
    /// Held open for its lock. It is not inherited by programs that are started (close-on-exec).
    _file: File,
}

impl Hold {
    /// A new id for work that begins, and its lock.
    pub(crate) fn of_new_work(cloud: &Cloud) -> Result<(OperationId, Hold)> {
        for _ in 0..TRIES {
            let id = OperationId::mint()?;
            if let Some(hold) = Hold::take(cloud, &id)? {
                return Ok((id, hold));
            }
        }
        Err(Error::new(
            Code::InternalError,
            format!("work cannot begin: {TRIES} new locks were taken at once; try again"),
        ))
    }

    /// Takes the lock of an operation; nothing if another process has it.
    pub(crate) fn take(cloud: &Cloud, id: &OperationId) -> Result<Option<Hold>> {
        let path = folder(cloud).join(id.as_str());
        let locking = |error| Error::internal(format!("lock {}", path.display()), error);
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .mode(0o600)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
                .open(&path)
                .map_err(locking)?;
            if !lock(&file).map_err(locking)? {
                return Ok(None);
            }
            // Between the two it may have been removed: the lock of a file without a name keeps nobody out.
            if !is_at(&file, &path) {
                continue;
            }
            // For the next one that finds the lock taken. That it cannot be written (a full disk) costs little.
            let _ = file.write_all_at(format!("{:<20}", std::process::id()).as_bytes(), 0);
            return Ok(Some(Hold { path, _file: file }));
        }
    }

    /// Lets go of the lock of an operation that is no more. The id is never used again, so nobody can be waiting for
    /// a file of that name.
    pub(crate) fn release(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes the locks that a killed command left: it died after its last word in the catalogue, or before its first.
pub(super) fn remove_leftovers(cloud: &Cloud) -> Result<()> {
    let folder = folder(cloud);
    let entries = std::fs::read_dir(&folder)
        .map_err(|error| Error::internal(format!("list {}", folder.display()), error))?;
    let has_row = |id: &OperationId| {
        cloud
            .catalog
            .read(|tx| operations::find(tx, id))
            .map(|row| row.is_some())
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| OperationId::parse(name).ok()) else {
            continue;
        };
        if has_row(&id)? {
            continue;
        }
        let Some(hold) = Hold::take(cloud, &id)? else {
            continue;
        };
        // It may have begun, and died, since its row was looked for.
        if !has_row(&id)? {
            hold.release();
        }
    }
    Ok(())
}

fn folder(cloud: &Cloud) -> PathBuf {
    cloud.home.join("operations")
}

/// Whether the lock could be had. One of a process that is gone is waited for.
fn lock(file: &File) -> std::io::Result<bool> {
    let deadline = Instant::now() + LAST_BREATH;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) if is_held_by_the_dead(file) && Instant::now() < deadline => {
                std::thread::sleep(LOOK_AGAIN);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the process that took a lock last is gone.
fn is_held_by_the_dead(lock: &File) -> bool {
    let mut text = [0u8; 20];
    let read = lock.read_at(&mut text, 0).unwrap_or(0);
    let pid = text
        .get(..read)
        .and_then(|text| std::str::from_utf8(text).ok())
        .map(str::trim);
    pid.is_some_and(|pid| !pid.is_empty() && !Path::new("/proc").join(pid).exists())
}

/// Whether the file is the one that the path names.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |data: std::fs::Metadata| (data.dev(), data.ino());
    let named = std::fs::symlink_metadata(path).map(identity);
    file.metadata()
        .map(identity)
        .is_ok_and(|own| named.is_ok_and(|named| own == named))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud() -> (tempfile::TempDir, Cloud) {
        let home = tempfile::tempdir().unwrap();
        let cloud = Cloud::open(crate::Options::new(home.path())).unwrap();
        (home, cloud)
    }

    fn locks(cloud: &Cloud) -> Vec<String> {
        std::fs::read_dir(folder(cloud))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_lock_of_a_command_that_died_beside_its_work_is_removed_and_one_that_is_held_stays() {
        let (home, cloud) = cloud();
        let (begins, hold) = Hold::of_new_work(&cloud).unwrap();
        let left = OperationId::mint().unwrap();
        drop(Hold::take(&cloud, &left).unwrap().unwrap());
        assert_eq!(locks(&cloud).len(), 2);
        let other = Cloud::open(crate::Options::new(home.path())).unwrap();
        assert_eq!(locks(&other), [begins.to_string()]);
        hold.release();
        assert_eq!(locks(&cloud), Vec::<String>::new());
    }

    #[test]
    fn a_lock_that_was_removed_while_it_was_being_taken_keeps_others_out_all_the_same() {
        let (_home, cloud) = cloud();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    remove_leftovers(&cloud).unwrap();
                }
            });
            for _ in 0..500 {
                let (id, hold) = Hold::of_new_work(&cloud).unwrap();
                assert!(Hold::take(&cloud, &id).unwrap().is_none(), "{id} is had twice");
                hold.release();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
