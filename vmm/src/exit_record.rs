//! The exit record: why a machine ended, written by the parent process before the lock is free.
//!
//! One record is in the instance's folder as `exit.json` once its lock can be taken, however the
//! machine died. The exceptions are those in which the parent itself could not write it (it was
//! killed with the machine, or the host lost power); [`ExitRecord::read`] then says so from what
//! the lock file remembers, so that a reader always learns a reason.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::instance_dir::{DirError, InstanceDir, Occupant, Reserved};

/// The file's name in the instance's folder.
pub const FILE_NAME: &str = "exit.json";

/// A record longer than this is none of ours: it bounds what a reader loads.
const MAX_BYTES: u64 = 64 * 1024;
/// Room that is taken in advance: a record with the longest detail, whatever is escaped in it.
const ROOM: u64 = 32 * 1024;

/// What ended the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitReason {
    /// The guest powered off (ACPI S5), or reset with `on-reset: exit`.
    Shutdown,
    /// The machine was ended from outside: the `kill` verb, a signal, or a killed process.
    Killed,
    /// The guest told of its crash (pvpanic) or cannot go on (a vCPU in an impossible state).
    GuestCrash,
    /// The VMM itself failed: an error, a panic, a fatal signal, a forbidden system call.
    VmmError,
    /// The host went away under the machine (restart, loss of power).
    HostLost,
}

/// Why a machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitRecord {
    /// The kind of end.
    pub reason: ExitReason,
    /// One sentence for people: the error, the signal or system call by name, who asked.
    pub detail: String,
    /// How many times the guest was reset during its life.
    pub resets: u64,
    /// When it ended: milliseconds since 1970 (UTC).
    pub unix_ms: u64,
}

impl ExitRecord {
    /// A record of an end that happens now.
    pub fn now(reason: ExitReason, detail: impl Into<String>, resets: u64) -> Self {
        Self {
            reason,
            detail: detail.into(),
            resets,
            unix_ms: unix_ms(),
        }
    }

    /// Reads the record of the machine that last ran in folder `dir`.
    ///
    /// `None`: a machine runs there now, or none ever did. Where the machine is gone without a
    /// record, one is made up from the lock file: [`ExitReason::HostLost`] if the host has been
    /// restarted since, else [`ExitReason::Killed`].
    ///
    /// # Errors
    /// The folder cannot be opened, or `exit.json` is a link, too long, or not a record.
    pub fn read(dir: &Path) -> Result<Option<Self>, DirError> {
        let dir = InstanceDir::open(dir)?;
        if dir.is_locked()? {
            return Ok(None);
        }
        if let Some(record) = Self::left_in(&dir)? {
            return Ok(Some(record));
        }
        let occupant = dir.last_occupant()?;
        // One that has moved in since the first look has not vanished; one that has gone again has left its record.
        if dir.is_locked()? {
            return Ok(None);
        }
        let vanished = || occupant.map(|occupant| Self::of_the_vanished(&occupant));
        Ok(Self::left_in(&dir)?.or_else(vanished))
    }

    fn left_in(dir: &InstanceDir) -> Result<Option<Self>, DirError> {
        let Some(text) = dir.read_file(FILE_NAME, MAX_BYTES)? else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&text).map_err(|error| dir.malformed(FILE_NAME, &error))?;
        Ok(Some(record))
    }

    /// Takes room for a record in `dir`, and removes the one of a machine before.
    ///
    /// # Errors
    /// The folder cannot be written to, or is full.
    pub(crate) fn reserve(dir: &InstanceDir) -> Result<Reserved, DirError> {
        let room = dir.reserve(FILE_NAME, ROOM)?;
        dir.remove(FILE_NAME)?;
        Ok(room)
    }

    /// Writes the record to the room taken for it: complete and on disk, or not at all.
    ///
    /// # Errors
    /// The file cannot be written, synced or renamed.
    pub(crate) fn write(&self, dir: &InstanceDir, room: Reserved) -> Result<(), DirError> {
        let mut text = serde_json::to_vec(self).map_err(|error| dir.malformed(FILE_NAME, &error))?;
        text.push(b'\n');
        dir.fill(room, &text)
    }

    fn of_the_vanished(occupant: &Occupant) -> Self {
        if occupant.is_of_this_boot() {
            Self::now(
                ExitReason::Killed,
                format!(
                    "the process that watches over the machine (pid {}) was killed, and the machine with it",
                    occupant.pid
                ),
                0,
            )
        } else {
            Self::now(
                ExitReason::HostLost,
                "the host restarted or lost power while the machine ran",
                0,
            )
        }
    }
}

/// Milliseconds since 1970; 0 for a clock before that.
fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let dir = InstanceDir::open(folder.path()).unwrap();
        let record = ExitRecord::now(ExitReason::GuestCrash, "pvpanic", 3);
        record.write(&dir, ExitRecord::reserve(&dir).unwrap()).unwrap();
        assert_eq!(ExitRecord::read(folder.path()).unwrap(), Some(record));
    }

    #[test]
    fn a_folder_in_which_nothing_ran_has_no_record() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ExitRecord::read(folder.path()).unwrap(), None);
    }

    #[test]
    fn a_machine_that_runs_has_no_record_even_if_an_old_one_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        let dir = InstanceDir::open(folder.path()).unwrap();
        let room = ExitRecord::reserve(&dir).unwrap();
        ExitRecord::now(ExitReason::Shutdown, "", 0)
            .write(&dir, room)
            .unwrap();
        let _lock = dir.lock().unwrap();
        assert_eq!(ExitRecord::read(folder.path()).unwrap(), None);
    }

    #[test]
    fn a_vanished_parent_reads_as_killed_and_a_restarted_host_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let dir = InstanceDir::open(folder.path()).unwrap();
        drop(dir.lock().unwrap());
        crate::instance_dir::tests::until_free(&dir);
        let record = ExitRecord::read(folder.path()).unwrap().unwrap();
        assert_eq!(record.reason, ExitReason::Killed);

        let other_boot = r#"{"pid":7,"boot_id":"of-another-boot","unix_ms":1}"#;
        std::fs::write(folder.path().join("lock"), other_boot).unwrap();
        let record = ExitRecord::read(folder.path()).unwrap().unwrap();
        assert_eq!(record.reason, ExitReason::HostLost);
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), "{").unwrap();
        let error = ExitRecord::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("exit.json"), "{error}");
    }
}
