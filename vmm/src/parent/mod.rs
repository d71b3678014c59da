//! The small parent process of a machine: it takes the lock, starts the VMM, waits, and writes
//! the exit record.
//!
//! ```text
//!  kiln-vmm --spec … --ready-fd N      (the launcher: clean environment, no strange descriptors)
//!      | fork, and out
//!      +-> parent: own session, `lock`          <- SIGTERM: the power button
//!            | fork          ^
//!            |      link: resets, end, panic, forbidden call   (to the parent)
//!            |            power button, kill                   (to the VMM)
//!            +-> VMM: dies with the parent, holds the lock, too
//! ```
//!
//! The lock is one open file that both hold: it is free when both are gone, and not before. The
//! parent lets go of it after the record is on disk; so whoever gets the lock finds a record, or
//! knows that the parent itself was killed ([`ExitRecord::read`](crate::exit_record::ExitRecord)).
//! The parent never touches a byte that the guest wrote.

mod inherited;
pub mod link;
pub mod ready;
pub mod signals;
mod watch;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::Mode;
use rustix::process::Signal;

pub use inherited::{close_all_but, forget_environment, take_ready_fd};
pub use link::ToParent;
pub use ready::{BootInfo, ReadySender, StartError};

use crate::exit_record::{ExitReason, ExitRecord};
use crate::instance_dir::{DirError, InstanceDir, Lock, Reserved};

/// What the VMM's process starts with.
#[derive(Debug)]
pub struct Child {
    /// The instance's folder.
    pub dir: InstanceDir,
    /// Tells the parent of resets and of the end, and brings its orders.
    pub parent: ToParent,
    /// Tells the starter how the start went.
    pub ready: ReadySender,
}

/// Runs a machine in the folder `dir` as two processes. `vmm` runs in the second; its result
/// becomes the exit record. With `ready` (and only then) the machine goes into the background and
/// this process ends at once; without, it stays and its exit status tells whether the guest powered
/// off.
///
/// Must be called while the process has one thread.
pub fn run(
    dir: &Path,
    ready: Option<OwnedFd>,
    vmm: impl FnOnce(Child) -> Result<ExitRecord, StartError>,
) -> ExitCode {
    let in_background = ready.is_some();
    let ready = ReadySender::new(ready);
    match start(dir, in_background, &ready) {
        Ok(Some(place)) => place.split(ready, vmm),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            ready.error(&error);
            ExitCode::FAILURE
        }
    }
}

/// The folder, locked, and what both processes get of it.
struct Place {
    dir: InstanceDir,
    lock: Lock,
    record: Reserved,
    signals: signals::Signals,
    in_background: bool,
}

/// Everything before the VMM's fork. `None`: this is the launcher, whose work is done.
fn start(dir: &Path, in_background: bool, ready: &ReadySender) -> Result<Option<Place>, StartError> {
    let host = |error: io::Error| StartError::new("host", error);
    inherited::close_all_but(ready.descriptor()).map_err(host)?;
    let dir = InstanceDir::open(dir).map_err(start_error)?;
    if in_background {
        if fork().map_err(host)?.is_some() {
            return Ok(None);
        }
        // A session of its own: no terminal's hang-up, no shell's job control reaches it.
        rustix::process::setsid().map_err(|errno| host(errno.into()))?;
    }
    // What is made in the folder from here on is this user's alone, the sockets first of all.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let signals = signals::Signals::block().map_err(host)?;
    let lock = dir.lock().map_err(start_error)?;
    let record = ExitRecord::reserve(&dir).map_err(start_error)?;
    // Since it has the lock whoever looks sees a machine that starts. Before, they saw none, and if the starter was
    // killed they have written that down.
    if ready.is_unheard() {
        let gone = "the machine did not start: who started it is gone";
        watch::write_record(&ExitRecord::now(ExitReason::VmmError, gone, 0), &dir, record);
        return Err(StartError::new("host", gone));
    }
    let log = dir.open_log(crate::instance_dir::VMM_LOG).map_err(start_error)?;
    crate::vmm_log::make_room(&log).map_err(host)?;
    if in_background {
        inherited::redirect_stdio(&log).map_err(host)?;
    }
    rustix::process::chdir("/").map_err(|errno| host(errno.into()))?;
    Ok(Some(Place {
        dir,
        lock,
        record,
        signals,
        in_background,
    }))
}

fn start_error(error: DirError) -> StartError {
    let kind = if matches!(error, DirError::Locked(_)) {
        "locked"
    } else {
        "folder"
    };
    StartError::new(kind, error)
}

impl Place {
    /// Forks, and is the parent in one process and the VMM in the other.
    fn split(
        self,
        ready: ReadySender,
        vmm: impl FnOnce(Child) -> Result<ExitRecord, StartError>,
    ) -> ExitCode {
        let parent = rustix::process::getpid();
        let forked = UnixStream::pair()
            .map_err(|error| StartError::new("host", error))
            .and_then(|ends| Ok((fork().map_err(|error| StartError::new("host", error))?, ends)));
        match forked {
            Ok((Some(child), (own, others))) => {
                drop(others);
                drop(ready);
                let watch = watch::Watch::new(child, own, self.signals, self.in_background);
                watch.until_the_end(&self.dir, self.record)
                // The lock goes with `self.lock`, after the record was written.
            }
            Ok((None, (others, own))) => {
                drop(others);
                drop(self.signals);
                drop(self.record);
                let status = child(parent, self.dir, self.lock, own, ready, vmm);
                // SAFETY: ends the process; nothing is left to be flushed or destroyed, and threads
                // that still run must not see destructors run under them.
                unsafe { libc::_exit(status) }
            }
            Err(error) => {
                ready.error(&error);
                let record = ExitRecord::now(ExitReason::VmmError, error.message, 0);
                watch::write_record(&record, &self.dir, self.record);
                ExitCode::FAILURE
            }
        }
    }
}

/// The life of the VMM's process; the result is its exit status.
fn child(
    parent: rustix::process::Pid,
    dir: InstanceDir,
    lock: Lock,
    link: UnixStream,
    ready: ReadySender,
    vmm: impl FnOnce(Child) -> Result<ExitRecord, StartError>,
) -> i32 {
    if let Err(error) = die_with(parent) {
        ready.error(&StartError::new("host", error));
        return 1;
    }
    let to_parent = ToParent::new(link);
    to_parent.report_panics();
    let result = vmm(Child {
        dir,
        parent: to_parent.clone(),
        ready: ready.clone(),
    });
    let status = match result {
        Ok(record) => {
            to_parent.ended(&record);
            0
        }
        Err(error) => {
            tracing::error!(kind = error.kind, "{}", error.message);
            let detail = format!("the machine did not start: {}", error.message);
            to_parent.ended(&ExitRecord::now(ExitReason::VmmError, detail, 0));
            ready.error(&error);
            1
        }
    };
    drop(lock);
    status
}

/// Has the kernel kill this process when its parent dies.
fn die_with(parent: rustix::process::Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before.
    if rustix::process::getppid() == Some(parent) {
        Ok(())
    } else {
        Err(io::Error::other("the parent process is gone"))
    }
}

/// The child's id in the parent, `None` in the child.
fn fork() -> io::Result<Option<rustix::process::Pid>> {
    // SAFETY: the process has one thread (the contract of `run`), so the child is a whole copy.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(rustix::process::Pid::from_raw(pid))
}

#[cfg(test)]
mod tests;
