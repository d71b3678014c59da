//! The guest's file systems frozen on loan: thawed at the latest at a deadline, or when whoever
//! asked for it is gone.
//!
//! A guest whose file systems stay frozen is lost. So the VMM itself watches over every freeze
//! that it asks for, on a thread that does nothing else: at the deadline, or when the caller's
//! connection closes, it thaws, whatever the thread that does the work is waiting for. (The agent
//! in the guest has a deadline of its own, should the VMM die.)

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags};

use super::lines::timespec;
use super::{ControlError, GuestAgent};

/// How often a thaw that the agent did not confirm is asked for again.
const THAW_TRIES: u32 = 3;

/// How a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The file systems are frozen, as far as the agent said so.
    Held,
    /// They were thawed since the deadline passed.
    Expired,
    /// They were thawed since the caller went away.
    Abandoned,
}

/// File systems on loan. Dropping it thaws.
pub(super) struct Lease {
    agent: Arc<dyn GuestAgent>,
    standing: Arc<Mutex<Standing>>,
    done: Arc<OwnedFd>,
    watcher: Option<JoinHandle<()>>,
}

impl Lease {
    /// Begins the watch and asks the agent to freeze. On an error nothing is frozen any more.
    pub(super) fn take(
        agent: Arc<dyn GuestAgent>,
        length: Duration,
        caller: BorrowedFd<'_>,
    ) -> Result<Self, ControlError> {
        let deadline = Instant::now() + length;
        let internal = |error: io::Error| ControlError::new(super::ErrorKind::Internal, error.to_string());
        let caller = caller.try_clone_to_owned().map_err(internal)?;
        let done = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)
            .map(Arc::new)
            .map_err(|errno| internal(errno.into()))?;
        let standing = Arc::new(Mutex::new(Standing::Held));
        let watch = {
            let (agent, done, standing) = (Arc::clone(&agent), Arc::clone(&done), Arc::clone(&standing));
            move || watch(&*agent, &done, &caller, deadline, &standing)
        };
        let watcher = std::thread::Builder::new()
            .name("freeze-lease".to_owned())
            .spawn(watch)
            .map_err(internal)?;
        let lease = Self {
            agent,
            standing,
            done,
            watcher: Some(watcher),
        };
        // An error thaws by the drop: a freeze that was not confirmed may have happened.
        lease.agent.freeze(length)?;
        Ok(lease)
    }

    pub(super) fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Written once, so never full.
        let _ = rustix::io::write(&*self.done, &1_u64.to_ne_bytes());
        if let Some(watcher) = self.watcher.take() {
            // Its panic would have ended the process.
            let _ = watcher.join();
        }
        if self.standing() == Standing::Held {
            thaw(&*self.agent);
        }
    }
}

fn watch(
    agent: &dyn GuestAgent,
    done: &OwnedFd,
    caller: &OwnedFd,
    deadline: Instant,
    standing: &Mutex<Standing>,
) {
    let end = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Of the caller only its hang-up counts: what it sends is read by its connection.
        let mut polled = [
            PollFd::new(done, PollFlags::IN),
            PollFd::new(caller, PollFlags::RDHUP),
        ];
        match rustix::event::poll(&mut polled, Some(&timespec(left))) {
            Ok(0) => break Standing::Expired,
            Ok(_) if !polled[0].revents().is_empty() => return,
            Ok(_) => break Standing::Abandoned,
            Err(rustix::io::Errno::INTR) => {}
            // It cannot watch: the safe end is the thaw.
            Err(_) => break Standing::Expired,
        }
    };
    // First said, then done: a swap that reads `Held` happened before the thaw.
    *standing.lock().unwrap_or_else(PoisonError::into_inner) = end;
    tracing::warn!(?end, "file systems thawed before the freeze was over");
    thaw(agent);
}

fn thaw(agent: &dyn GuestAgent) {
    for _ in 0..THAW_TRIES {
        match agent.thaw() {
            Ok(()) => return,
            Err(error) => tracing::warn!("thaw: {error}"),
        }
    }
    tracing::error!("the agent did not confirm the thaw; it thaws by itself at its deadline");
}
