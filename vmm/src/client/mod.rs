//! The other half of the control socket: starting machines, finding them again, asking them.
//!
//! Nothing here touches KVM. A machine is known by its folder alone: whether it runs is read from
//! the folder's lock, never from a process id, and it is asked over the socket in the folder.
//!
//! ```no_run
//! # use std::{path::Path, time::Duration};
//! # use kiln_vmm::client::{self, Vmm};
//! # fn main() -> Result<(), client::ClientError> {
//! let dir = Path::new("instances/i-0123456789abcdef0"); // with its spec.json
//! let started = client::spawn(Path::new("/usr/bin/kiln-vmm"), dir)?;
//! println!("boots {:?}", started.boot.kernel);
//! Vmm::connect(dir)?.powerdown()?;
//! let record = client::wait_exit(dir, Duration::from_secs(60))?;
//! # Ok(())
//! # }
//! ```

mod connection;
mod force;
mod process;
mod spawn;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use crate::control::wire::{
    BalloonStatus, DiskStatus, ErrorKind, FileId, FreezeDisk, FreezeReply, FreezeRequest, MAX_DESCRIPTORS,
    PlugReply, Quiesce, RunState, SaveReport, Status, Unplug,
};
pub use crate::exit_record::{ExitReason, ExitRecord};
use crate::instance_dir::{DirError, InstanceDir};
pub use crate::parent::ready::{BootInfo, StartError};
pub use crate::saved::SavedFiles;
pub use crate::terminal::TerminalSize;
pub use crate::virtio::block::DiskTraffic;
pub use connection::{ConsoleStream, Vmm};
pub use force::kill_by_force;
pub use process::ProcessUsage;
pub use spawn::{START_PATIENCE, Started, spawn, spawn_within};

/// Why a machine could not be started, asked or waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Something in the instance's folder.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The program could not be run at all.
    #[error("cannot run {}: {source}", .program.display())]
    Program {
        /// The VMM's path.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The machine did not start, and said why.
    #[error("{message}")]
    Start {
        /// A word for programs.
        kind: String,
        /// The sentence.
        message: String,
    },
    /// It did not say within the time given that it is ready.
    #[error("the machine in {} was not ready after {} s", .dir.display(), .waited.as_secs())]
    NotReady {
        /// Its folder.
        dir: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// No machine answers on the socket.
    #[error("no machine answers in {}: {message}", .dir.display())]
    NotRunning {
        /// The folder.
        dir: PathBuf,
        /// What happened on the way.
        message: String,
    },
    /// The machine is there and did not answer in time.
    #[error("the machine in {} did not answer `{verb}` within {} s", .dir.display(), .waited.as_secs())]
    Timeout {
        /// Its folder.
        dir: PathBuf,
        /// The verb.
        verb: &'static str,
        /// How long was waited.
        waited: Duration,
    },
    /// The machine answered with an error.
    #[error("`{verb}` failed: {message}")]
    Refused {
        /// The verb.
        verb: &'static str,
        /// The kind, for programs.
        kind: ErrorKind,
        /// The sentence.
        message: String,
    },
    /// What came back is no answer of this protocol.
    #[error("the machine in {} answered `{verb}` with something else: {message}", .dir.display())]
    Protocol {
        /// Its folder.
        dir: PathBuf,
        /// The verb.
        verb: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// Whether a machine (its VMM or the parent that still writes its record) lives in `dir`.
///
/// # Errors
/// The folder or its lock cannot be looked at.
pub fn is_running(dir: &Path) -> Result<bool, ClientError> {
    Ok(InstanceDir::open(dir)?.is_locked()?)
}

/// Waits until the machine in `dir` is gone and says why it went; `None` if it still runs after
/// `timeout`, or if none ever ran there.
///
/// # Errors
/// The folder, its lock or the record cannot be read.
pub fn wait_exit(dir: &Path, timeout: Duration) -> Result<Option<ExitRecord>, ClientError> {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(2);
    let folder = InstanceDir::open(dir)?;
    while folder.is_locked()? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    Ok(ExitRecord::read(dir)?)
}
