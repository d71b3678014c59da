//! The control socket: how a running machine is asked about and told what to do.
//!
//! One JSON object a line over `control.sock` ([`wire`]), a thread a client, a file a verb. What
//! the verbs act on is the machine, seen through [`MachineControl`]; the half that asks is
//! [`crate::client`].

pub(crate) mod lines;
pub mod wire;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

pub use wire::{ControlError, ErrorKind, FileId, RunState};

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
/// Every method may be called from any thread, at any time after the machine was assembled, and
/// returns soon: what takes long is begun, not awaited (a reset, a kill, the power button).
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

    /// The guest's agent, if the machine has a port for one.
    fn agent(&self) -> Option<Arc<dyn GuestAgent>>;
}

/// A disk whose writes can be turned to a new file at a point in time.
pub trait ControlledDisk: Send + Sync {
    /// The id in the specification.
    fn id(&self) -> &str;

    /// The file that takes the writes.
    fn top(&self) -> Option<FileId>;

    /// Checks `overlay` and readies it to become the new top. No lock is held and nothing of the
    /// disk changes; dropping the result undoes it.
    ///
    /// # Errors
    /// The disk takes no overlay (raw, read-only), or this one does not fit.
    fn prepare(&self, overlay: File) -> Result<Box<dyn Swap>, ControlError>;

    /// Takes no more requests, and returns when those under way are done. `false`: they were not
    /// within `patience`, and the gate is open again.
    fn close_gate(&self, patience: Duration) -> bool;

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
    /// `lease`. Gives up when `lease` has passed or `cancelled` says so.
    ///
    /// # Errors
    /// No agent answered in time, or it could not; in both cases [`Self::thaw`] is to be called.
    fn freeze(&self, lease: Duration, cancelled: &dyn Fn() -> bool) -> Result<(), ControlError>;

    /// Has them thawed, frozen or not.
    ///
    /// # Errors
    /// The agent did not confirm it.
    fn thaw(&self) -> Result<(), ControlError>;
}
