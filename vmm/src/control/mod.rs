//! The control socket: how a running machine is asked about and told what to do.
//!
//! One JSON object a line over `control.sock` ([`wire`]), a thread a client, a file a verb. What
//! the verbs act on is the machine, seen through [`MachineControl`]; the half that asks is
//! [`crate::client`].
//!
//! ```text
//!  control.sock -> server -> connection (a thread each) -> status | pause | … | freeze
//!  the parent's orders, or signals --^                        |
//!                                       MachineControl <------+
//!                              ControlledDisk  GuestAgent
//! ```
//!
//! Limits: [`server::MAX_CLIENTS`] connections, [`wire::MAX_LINE`] bytes a line,
//! [`wire::MAX_DESCRIPTORS`] descriptors a request, `connection`'s deadlines; other users than
//! the machine's own are turned away. They bound what a client can make the VMM hold, and keep one
//! client from waiting for another.

mod balloon;
mod chain_disk;
mod connection;
mod console;
mod freeze;
mod kill;
mod lease;
pub(crate) mod lines;
mod mux_agent;
mod pause;
mod plug;
mod powerdown;
mod reset;
mod save;
pub mod server;
mod status;
#[cfg(test)]
mod tests;
pub mod wire;

use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::Value;

use crate::machine::PlugOrder;
use crate::saved::SavedFiles;
use crate::terminal::{Attached, Terminals};
use crate::virtio::balloon::BalloonLevel;
use crate::virtio::block::DiskTraffic;
pub use chain_disk::ChainDisk;
pub use mux_agent::MuxAgent;
pub use server::{Orders, Server};
pub use wire::{ControlError, ErrorKind, FileId, RunState, SaveReport, Unplug};

/// What the machine tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineStatus {
    /// Whether the vCPUs run.
    pub state: RunState,
    /// Since the first vCPU first entered the guest.
    pub uptime: Duration,
    /// How many times the guest was reset.
    pub resets: u64,
}

/// The machine, as the control socket and the signals of the parent see it.
///
/// Every method may be called from any thread, at any time after the machine was assembled, and but for
/// [`MachineControl::save`] and [`MachineControl::plug`] returns soon: what takes long is begun, not awaited (a reset, a kill, the
/// power button).
pub trait MachineControl: Send + Sync {
    /// How it is.
    fn status(&self) -> MachineStatus;

    /// Holds the vCPUs and drains the devices; returns when both are done. Paused already: nothing.
    ///
    /// # Errors
    /// A vCPU or a device could not be held.
    fn pause(&self) -> Result<(), ControlError>;

    /// Lets them go on. Running already: nothing.
    ///
    /// # Errors
    /// A device could not go on.
    fn resume(&self) -> Result<(), ControlError>;

    /// Writes the machine to `files`, which are empty; one that runs is held meanwhile. Returns when all
    /// is written and the machine goes on.
    ///
    /// # Errors
    /// A vCPU or a device could not be held, the files cannot be written, or the guest is about to end.
    fn save(&self, files: SavedFiles) -> Result<SaveReport, ControlError>;

    /// Presses the ACPI power button. What the guest makes of it is the guest's affair.
    ///
    /// # Errors
    /// The button cannot be pressed in this state.
    fn powerdown(&self) -> Result<(), ControlError>;

    /// Restarts the machine in this process, as the guest's own reset would.
    ///
    /// # Errors
    /// The machine is about to end.
    fn reset(&self) -> Result<(), ControlError>;

    /// Ends the machine at once; the exit record says killed, by what `detail` tells.
    fn kill(&self, detail: &str);

    /// Its disks, in the specification's order.
    fn disks(&self) -> Vec<Arc<dyn ControlledDisk>>;

    /// The ids of the disks that the guest is asked to let go of, and of those whose files are being closed.
    fn leaving(&self) -> Vec<String> {
        Vec::new()
    }

    /// Plugs a disk in, and returns its slot; what the guest makes of it is the guest's affair.
    ///
    /// # Errors
    /// Its files are not what they must be, it is there already, or no slot is free.
    fn plug(&self, order: PlugOrder) -> Result<u8, ControlError>;

    /// Has a disk go; begun, not awaited.
    ///
    /// # Errors
    /// There is no such disk, or it is the one that the machine boots from.
    fn unplug(&self, id: &str, how: Unplug) -> Result<(), ControlError>;

    /// The balloon, if the machine has one.
    fn balloon(&self) -> Option<Arc<BalloonLevel>> {
        None
    }

    /// The guest's agent, if the machine has a port for one.
    fn agent(&self) -> Option<Arc<dyn GuestAgent>>;

    /// The guest's consoles, if people can attach to them.
    fn terminals(&self) -> Option<Arc<Terminals>> {
        None
    }
}

/// A disk whose writes can be turned to a new file at a point in time.
pub trait ControlledDisk: Send + Sync {
    /// The id in the specification.
    fn id(&self) -> &str;

    /// The file that takes the writes.
    fn top(&self) -> Option<FileId>;

    /// Whether a former top is not on disk yet, so that no copy may be made of it.
    fn is_unsynced(&self) -> bool;

    /// Checks `overlay`, which lies at `path` if the caller says so, and readies it to become the new top. No lock is held and nothing of the
    /// disk changes; dropping the result undoes it.
    ///
    /// # Errors
    /// The disk takes no overlay (raw, read-only), or this one does not fit.
    fn prepare(&self, overlay: File, path: Option<&str>) -> Result<Box<dyn Swap>, ControlError>;

    /// What the guest has read and written.
    fn traffic(&self) -> DiskTraffic {
        DiskTraffic::default()
    }

    /// Takes no more requests; those under way go on.
    fn close_gate(&self);

    /// Waits for those under way behind a closed gate; `false`: `patience` was not enough.
    fn is_drained_within(&self, patience: Duration) -> bool;

    /// Takes requests again.
    fn open_gate(&self);
}

/// A readied overlay.
pub trait Swap: Send {
    /// Makes it the top. Cannot fail, makes no system call. The disk's gate must be closed.
    fn swap(self: Box<Self>) -> Box<dyn Seal>;
}

/// A top that became a lower layer and is not on disk yet.
pub trait Seal: Send {
    /// Puts it on disk.
    ///
    /// # Errors
    /// The sync failed; the guest's own flushes go on covering the file.
    fn sync(self: Box<Self>) -> Result<(), ControlError>;
}

/// The agent in the guest, as the freeze needs it.
pub trait GuestAgent: Send + Sync {
    /// Whether it was heard from since the last reset.
    fn is_heard(&self) -> bool;

    /// Has every file system of the guest synced and frozen; the agent thaws by itself after
    /// `lease`, which is also how long this waits for it.
    ///
    /// # Errors
    /// No agent answered in time, or it could not; in both cases [`Self::thaw`] is to be called.
    fn freeze(&self, lease: Duration) -> Result<(), ControlError>;

    /// Has them thawed, frozen or not, while a freeze may still be under way on another thread.
    ///
    /// # Errors
    /// The agent did not confirm it.
    fn thaw(&self) -> Result<(), ControlError>;

    /// Has the guest's wall clock set to the host's.
    ///
    /// # Errors
    /// The agent did not answer, or could not.
    fn set_clock(&self) -> Result<(), ControlError>;

    /// Has the guest's random numbers seeded anew, with bytes of the host.
    ///
    /// # Errors
    /// The agent did not answer, or could not.
    fn seed(&self) -> Result<(), ControlError>;
}

/// What the verbs work with.
struct Context {
    machine: Arc<dyn MachineControl>,
    /// Set while disks are frozen, come or go: one at a time. Taken before anything of the machine is touched, and by
    /// nobody who only looks.
    freezing: AtomicBool,
}

/// One request on its way to a verb.
struct Call<'a> {
    context: &'a Context,
    args: Value,
    descriptors: Vec<OwnedFd>,
    /// The caller's connection: its hang-up ends what is done on its behalf.
    caller: BorrowedFd<'a>,
    /// Set by the verb that makes the connection a console's stream.
    attached: &'a mut Option<Attached>,
}

/// Serves one client until it goes or breaks the rules, on the calling thread: the fuzz target's way in.
#[cfg(fuzzing)]
pub fn serve_client(stream: std::os::unix::net::UnixStream, machine: Arc<dyn MachineControl>) {
    let freezing = AtomicBool::new(false);
    connection::serve(stream, &Context { machine, freezing });
}

/// A verb: it answers a call.
type Verb = fn(Call<'_>) -> Result<Value, ControlError>;

/// The verbs by name, a file each.
const VERBS: [(&str, Verb); 13] = [
    ("status", status::status),
    ("pause", pause::pause),
    ("resume", pause::resume),
    ("powerdown", powerdown::powerdown),
    ("reset", reset::reset),
    ("kill", kill::kill),
    ("disks.freeze", freeze::freeze),
    ("disks.plug", plug::plug),
    ("disks.unplug", plug::unplug),
    ("memory.snapshot", save::save),
    ("memory.balloon", balloon::balloon),
    ("console.attach", console::attach),
    ("console.resize", console::resize),
];

impl Call<'_> {
    /// Refuses arguments and descriptors where a verb takes none.
    fn takes_nothing(&self) -> Result<&dyn MachineControl, ControlError> {
        let is_empty = match &self.args {
            Value::Null => true,
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        if is_empty && self.descriptors.is_empty() {
            Ok(&*self.context.machine)
        } else {
            Err(ControlError::new(
                ErrorKind::Malformed,
                "this verb takes no arguments and no descriptors",
            ))
        }
    }
}
