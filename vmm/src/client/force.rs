//! The last resort for a machine that answers nobody.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

use super::{ClientError, wait_exit};
use crate::instance_dir::{InstanceDir, LOCK};

/// How long a parent whose VMM was killed may take to write the record before it is killed, too.
const RECORD_PATIENCE: Duration = Duration::from_secs(2);

/// Kills the processes of the machine in `dir` (SIGKILL), whatever state they are in: first the
/// VMM, so that its parent writes the record, then a parent that does not end. [`wait_exit`] tells
/// when they are gone. No machine there: nothing is done.
///
/// They are found by the lock's file, which only they hold open, and each is signalled through a
/// descriptor of the very process that was looked at: a process id that has been given to another
/// program meanwhile cannot be hit.
///
/// # Errors
/// The folder or its lock cannot be looked at.
pub fn kill_by_force(dir: &Path) -> Result<(), ClientError> {
    let folder = InstanceDir::open(dir)?;
    let Some(lock) = folder.open_existing(LOCK)? else {
        return Ok(());
    };
    if !folder.is_locked()? {
        return Ok(());
    }
    let holders = holders(&lock);
    let is_child = |holder: &Holder| holders.iter().any(|other| other.pid == holder.parent);
    let (vmms, parents): (Vec<_>, Vec<_>) = holders.iter().partition(|holder| is_child(holder));
    for vmm in &vmms {
        vmm.kill();
    }
    if vmms.is_empty() || wait_exit(dir, RECORD_PATIENCE)?.is_none() {
        parents.iter().for_each(|parent| parent.kill());
    }
    Ok(())
}

/// A process that has the lock's file open.
struct Holder {
    pid: i32,
    parent: i32,
    handle: OwnedFd,
}

impl Holder {
    fn kill(&self) {
        // The only failure is that it is gone already.
        let _ = rustix::process::pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

fn holders(lock: &File) -> Vec<Holder> {
    let Ok(lock) = lock.metadata() else {
        return Vec::new();
    };
    let own = i32::try_from(std::process::id()).ok();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|&pid| Some(pid) != own)
        .filter_map(|pid| {
            // The handle first: what is read of the process afterwards is read of this one, or
            // the handle is of a dead one and signals nobody.
            let handle = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
            let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
            let holds = files.flatten().any(|file| {
                fs::metadata(file.path())
                    .is_ok_and(|file| (file.dev(), file.ino()) == (lock.dev(), lock.ino()))
            });
            holds.then(|| Holder {
                pid,
                parent: parent_of(pid).unwrap_or(0),
                handle,
            })
        })
        .collect()
}

/// The parent's id: the second field after the command's closing bracket, proc_pid_stat(5).
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
