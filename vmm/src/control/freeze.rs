//! `disks.freeze`: the writes of several disks turned to new files at one point in time.
//!
//! ```text
//!  prepare every overlay            may fail; nothing has changed
//!  lease: file systems frozen       may fail: then without, and the reply warns
//!  gates closed, requests drained   may fail: gates open, file systems thawed
//!  ----------------------------------------------------------------------- one point in time
//!  swap every disk                  cannot fail, no system call
//!  gates open                       stall = gates closed .. gates open
//!  file systems thawed
//!  sync the old files               may fail: `not-synced`; a guest's flush goes on covering both
//! ```
//!
//! All disks are swapped or none. A caller that goes away before the swap changes nothing; after
//! it the old files are synced all the same, and the next caller sees in `status` what each disk
//! writes to.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde_json::Value;

use super::lease::{Lease, Standing};
use super::wire::{FreezeArgs, FreezeReply, Quiesce};
use super::{Call, Context, ControlError, ControlledDisk, ErrorKind, MachineControl, Swap};
use crate::crash;

/// The longest lease: a guest must not be held longer, whoever asks.
const MAX_LEASE: Duration = Duration::from_secs(60);
/// How long the disks' requests may take to drain. The guest waits meanwhile; its own patience
/// (30 s in Linux's block layer, 120 s before a hung task is reported) must outlast it.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// A disk and what it shall write to.
struct Turn {
    disk: Arc<dyn ControlledDisk>,
    swap: Box<dyn Swap>,
}

/// Answers with a [`FreezeReply`].
pub(super) fn freeze(call: Call<'_>) -> Result<Value, ControlError> {
    let request: FreezeArgs = serde_json::from_value(call.args)
        .map_err(|error| ControlError::new(ErrorKind::Malformed, error.to_string()))?;
    let _alone = alone(call.context)?;
    let machine = &*call.context.machine;
    let overlays = call.descriptors.into_iter().map(File::from).collect();
    let turns = prepare(&request, overlays, machine)?;
    crash::reach("freeze.prepared");
    let reply = turn(&request, turns, machine, call.caller)?;
    tracing::info!(
        disks = request.disks.len(),
        stall_us = reply.stall_us,
        quiesced = reply.quiesced,
        "disks frozen"
    );
    serde_json::to_value(reply).map_err(|error| ControlError::new(ErrorKind::Internal, error.to_string()))
}

/// Whoever freezes disks, plugs one in or has one go, is the only one.
pub(super) struct Alone<'a>(&'a AtomicBool);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Makes the caller the only one at work on the disks.
pub(super) fn alone(context: &Context) -> Result<Alone<'_>, ControlError> {
    if context.freezing.swap(true, Ordering::SeqCst) {
        return Err(ControlError::new(
            ErrorKind::Busy,
            "another change of the disks is under way",
        ));
    }
    Ok(Alone(&context.freezing))
}

/// Refuses what nobody would learn of; the caller's own recovery finds everything as it was.
pub(super) fn must_be_there(caller: BorrowedFd<'_>) -> Result<(), ControlError> {
    if has_hung_up(caller) {
        return Err(ControlError::new(ErrorKind::Deadline, "the caller went away"));
    }
    Ok(())
}

/// Finds every disk and checks every overlay.
fn prepare(
    request: &FreezeArgs,
    overlays: Vec<File>,
    machine: &dyn MachineControl,
) -> Result<Vec<Turn>, ControlError> {
    if overlays.len() != request.disks.len() || overlays.is_empty() {
        let (disks, overlays) = (request.disks.len(), overlays.len());
        let message = format!("{disks} disks with {overlays} descriptors of overlays");
        return Err(ControlError::new(ErrorKind::Overlay, message));
    }
    let names: BTreeSet<&str> = request.disks.iter().map(|disk| disk.id.as_str()).collect();
    if names.len() != request.disks.len() {
        return Err(ControlError::new(ErrorKind::Malformed, "a disk is named twice"));
    }
    let disks = machine.disks();
    let mut turns = Vec::new();
    for (index, (wanted, overlay)) in request.disks.iter().zip(overlays).enumerate() {
        let disk = disks.iter().find(|disk| disk.id() == wanted.id).ok_or_else(|| {
            let message = format!("this machine has no disk `{}`", wanted.id.escape_debug());
            ControlError::new(ErrorKind::NoSuchDisk, message)
        })?;
        let path = request.paths.get(index).map(String::as_str);
        let swap = disk.prepare(overlay, path)?;
        turns.push(Turn {
            disk: Arc::clone(disk),
            swap,
        });
    }
    Ok(turns)
}

fn turn(
    request: &FreezeArgs,
    turns: Vec<Turn>,
    machine: &dyn MachineControl,
    caller: BorrowedFd<'_>,
) -> Result<FreezeReply, ControlError> {
    let (lease, mut warning) = match request.quiesce {
        Quiesce::None => (None, None),
        Quiesce::Agent { deadline_ms } => quiesce(machine, Duration::from_millis(deadline_ms), caller),
    };

    let closed = Instant::now();
    let gates = ClosedGates::close(turns.iter().map(|turn| Arc::clone(&turn.disk)).collect())?;
    crash::reach("freeze.gates_closed");
    let standing = lease.as_ref().map(Lease::standing);
    if standing == Some(Standing::Abandoned) || has_hung_up(caller) {
        // Nobody would learn of it; the caller's own recovery finds everything as it was.
        return Err(ControlError::new(ErrorKind::Deadline, "the caller went away"));
    }
    let seals: Vec<_> = turns.into_iter().map(|turn| turn.swap.swap()).collect();
    crash::reach("freeze.swapped");
    drop(gates);
    let stall = closed.elapsed();

    let quiesced = standing == Some(Standing::Held);
    if standing == Some(Standing::Expired) {
        warning = Some(
            "the deadline passed before the disks were still: the copy is as after a power cut".to_owned(),
        );
    }
    drop(lease);
    crash::reach("freeze.before_sync");
    let mut failed = None;
    for seal in seals {
        if let Err(error) = seal.sync() {
            failed.get_or_insert(error);
        }
    }
    if let Some(error) = failed {
        return Err(ControlError::new(ErrorKind::NotSynced, error.message));
    }
    crash::reach("freeze.after_sync");
    let stall_us = u64::try_from(stall.as_micros()).unwrap_or(u64::MAX);
    Ok(FreezeReply {
        stall_us,
        quiesced,
        warning,
    })
}

/// Has the file systems frozen, or says why they are not.
fn quiesce(
    machine: &dyn MachineControl,
    length: Duration,
    caller: BorrowedFd<'_>,
) -> (Option<Lease>, Option<String>) {
    let without = |why: &str| {
        let warning = format!("{why}: the file systems were not frozen, the copy is as after a power cut");
        (None, Some(warning))
    };
    let Some(agent) = machine.agent() else {
        return without("the machine has no port for a guest agent");
    };
    if !agent.is_heard() {
        return without("no guest agent answers");
    }
    match Lease::take(agent, length.min(MAX_LEASE), caller) {
        Ok(lease) => (Some(lease), None),
        Err(error) => without(&error.message),
    }
}

/// Gates that are closed; dropping it opens them.
struct ClosedGates(Vec<Arc<dyn ControlledDisk>>);

impl ClosedGates {
    /// Closes all, then waits for all.
    fn close(disks: Vec<Arc<dyn ControlledDisk>>) -> Result<Self, ControlError> {
        let deadline = Instant::now() + DRAIN_PATIENCE;
        let gates = Self(disks);
        gates.0.iter().for_each(|disk| disk.close_gate());
        for disk in &gates.0 {
            if !disk.is_drained_within(deadline.saturating_duration_since(Instant::now())) {
                let message = format!(
                    "disk `{}` did not finish its requests within {} s; nothing was changed",
                    disk.id(),
                    DRAIN_PATIENCE.as_secs()
                );
                return Err(ControlError::new(ErrorKind::Deadline, message));
            }
        }
        Ok(gates)
    }
}

impl Drop for ClosedGates {
    fn drop(&mut self) {
        self.0.iter().for_each(|disk| disk.open_gate());
    }
}

fn has_hung_up(caller: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(caller, PollFlags::RDHUP)];
    let now = super::lines::timespec(Duration::ZERO);
    rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
}
