//! The machines of this host: starting them, finding them again, seeing that they are gone.
//!
//! An instance's folder is all there is: `spec.json` says what the machine is, `lock` whether it runs, the socket in
//! it answers, and `exit.json` tells why it ended. No process id is kept anywhere, and nothing here has to run for a
//! guest to live: a machine outlives the command that started it, and the next command [adopts](Machines::is_running)
//! it by looking at its folder.

pub(crate) mod reap;
pub(crate) mod spawn;
pub(crate) mod vmm;

use crate::Result;
use kiln_vmm::client::{ExitRecord, FreezeReply, FreezeRequest, Status, Unplug};
use kiln_vmm::virtio::block::BlockSpec;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Whether a guest is to be gone afterwards, or to begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// It ends.
    PowerOff,
    /// It begins anew in the same machine.
    Reboot,
}

/// What the agent did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It does what it was asked.
    Yes,
    /// There is no agent, or it did not answer.
    No,
}

/// Why the disks of a guest were not frozen.
#[derive(Debug)]
pub(crate) enum FreezeFailure {
    /// Nothing was changed.
    Unchanged(crate::Error),
    /// The overlays are in use, but what was written before is not safely on disk.
    NotSynced(crate::Error),
    /// It is not known: the machine has to be asked.
    Unknown(crate::Error),
}

/// What control asks of machines. The only real one is [`vmm::Vmms`]; the tests of the state machine have another,
/// which starts no process.
pub(crate) trait Machines: std::fmt::Debug + Send + Sync {
    /// Starts the machine whose `spec.json` lies in a folder; it is ready when this returns.
    fn spawn(&self, dir: &Path) -> Result<()>;
    /// Whether a machine lives in a folder.
    fn is_running(&self, dir: &Path) -> Result<bool>;
    /// Waits until the machine is gone and says why it went; nothing if it is still there at the end.
    fn wait_exit(&self, dir: &Path, timeout: Duration) -> Result<Option<ExitRecord>>;
    /// Asks a machine how it is.
    fn status(&self, dir: &Path) -> Result<Status>;
    /// Asks the guest's agent to end the guest.
    fn ask_agent(&self, dir: &Path, farewell: Farewell) -> Heard;
    /// Presses the power button.
    fn press_power_button(&self, dir: &Path) -> Result<()>;
    /// Resets the guest.
    fn reset(&self, dir: &Path) -> Result<()>;
    /// Ends the machine, whatever it is doing, and waits until it is gone.
    fn kill(&self, dir: &Path) -> Result<Option<ExitRecord>>;
    /// Plugs a disk into a running guest; `files` are its layers, from the bottom to the top. After an error it is not
    /// known whether it is there: the machine has to be asked.
    fn plug(&self, dir: &Path, disk: &BlockSpec, files: &[OwnedFd]) -> Result<()>;
    /// Has a disk of a running guest go: begun, not awaited. May be repeated.
    fn unplug(&self, dir: &Path, disk: &str, how: Unplug) -> Result<()>;
    /// Moves disks of a running guest onto overlays, all at one point in time or none.
    fn freeze(
        &self,
        dir: &Path,
        request: &FreezeRequest,
        overlays: &[OwnedFd],
    ) -> Result<FreezeReply, FreezeFailure>;
}
