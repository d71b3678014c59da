//! The process that owns the machine's QEMU: `kiln machine-supervisor`, in a session of its own.
//!
//! It holds the lock of the machine's folder, starts QEMU, carries the agent's stream to
//! `agent.sock`, and answers on `supervisor.sock`. It ends the machine after ten idle minutes without
//! instances. If QEMU dies or the agent in it falls silent, the machine is started again once; the
//! second failure within ten minutes ends it with that reason. Every wait has a bound.
//!
//! Threads: the main one drives (boot, watch, stop); one accepts, one a connection serves; one asks
//! the agent for a sign of life. They share [`Shared`] behind one mutex; no lock is held while
//! something is waited for.

mod boot;
mod child;
mod clock;
mod serve;
mod shared;
mod watch;

pub(crate) use child::become_child;

use super::{Error, layout::Layout, layout::Socket, settings::Settings};
use crate::output;
use rustix::fs::FlockOperation;
use shared::{Phase, Shared};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A second failure within this time after the first is the last.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// Runs the supervisor until the machine has ended. Somebody else's lock is no error: then there is
/// a supervisor already.
pub(crate) fn run(home: &Path) -> Result<(), Error> {
    // Locks and pipes of whoever started it are not held for as long as the machine lives. An old kernel cannot.
    let _ = kiln_vmm::parent::close_all_but(None);
    // Fails only for a group's leader, and then we are in the background already.
    let _ = rustix::process::setsid();
    let layout = Layout::of(home);
    let lock = layout
        .open_lock()
        .map_err(|e| Error::io("open", &layout.lock(), &e))?;
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let settings = Settings::read(&layout.settings())?;
    let listener = layout
        .listen(Socket::Supervisor)
        .map_err(|e| Error::io("listen in", layout.folder(), &e))?;
    let shared = Arc::new(Shared::new(settings));
    serve::start(listener, layout.clone(), Arc::clone(&shared));
    let result = drive(&layout, &settings, &shared, &lock);
    shared.end(result.as_ref().err().map(ToString::to_string));
    // Those who wait get their answer before the process is gone.
    shared.wait_for_replies(Duration::from_secs(5));
    result
}

/// Boots and watches, with one restart.
fn drive(layout: &Layout, settings: &Settings, shared: &Arc<Shared>, lock: &File) -> Result<(), Error> {
    let mut failed: Option<Instant> = None;
    loop {
        let ended = boot::boot(layout, settings, shared, lock).and_then(|machine| match machine {
            Some(machine) => {
                shared.set_phase(Phase::Running);
                watch::watch(machine, layout, shared, lock)
            }
            None => Ok(()),
        });
        let Err(reason) = ended else { return Ok(()) };
        output::aside(&format!("the machine failed: {reason}\n"));
        if !shared.may_restart() || failed.is_some_and(|at| at.elapsed() < FORGIVEN_AFTER) {
            return Err(reason);
        }
        failed = Some(Instant::now());
        shared.restart(&reason.to_string());
    }
}
