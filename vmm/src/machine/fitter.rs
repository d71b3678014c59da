//! The thread that fits disks which come while the machine runs, and lets go of those that went.
//!
//! Inside the sandbox threads that serve the guest start no others, and nobody opens files: so one thread that was
//! started before makes the threads of a disk, of files that came open over the control socket, and waits for their end
//! and for the disk's when it goes. It does nothing for the guest.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::bays::Drive;
use super::{MachineError, OpenDisk};
use crate::control::{ControlError, ErrorKind, FileId};
use crate::sandbox::{self, DeviceThreads, ThreadKind};
use crate::virtio::ThreadSetup;
use crate::virtio::block::{Block, BlockSpec};
use crate::virtio::transport::VirtioPci;

/// How long whoever is at work on a disk that has gone may keep it open: a freeze that had begun.
const LAST_USE: Duration = Duration::from_secs(60);
/// How often it is looked whether they are through.
const LOOK: Duration = Duration::from_millis(5);

/// A disk to be fitted, its files open.
pub struct Order {
    /// What it is.
    pub spec: BlockSpec,
    /// Its files, from the bottom of the chain to the top.
    pub files: Vec<File>,
    /// Their absolute paths, as far as they are known.
    pub paths: Vec<String>,
}

/// A disk whose threads wait for a guest.
pub(super) struct Fitted {
    pub(super) slot: Option<u8>,
    pub(super) block: Block,
    pub(super) drive: Drive,
}

/// What is left of a disk that has gone.
pub(super) struct Gone {
    /// Its function, unless the guest still has it.
    pub(super) function: Option<Arc<VirtioPci>>,
    pub(super) drive: Drive,
    /// Told when its files are closed.
    pub(super) closed: Box<dyn FnOnce() + Send>,
}

enum Job {
    Fit(Box<Order>, SyncSender<Result<Fitted, ControlError>>),
    Close(Gone),
    End(Arc<VirtioPci>),
}

/// The thread's handle; its drop waits until all that went is closed.
pub(super) struct Fitter {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Fitter {
    /// Starts the thread of a machine of `cpus` vCPUs.
    ///
    /// # Errors
    /// The host gives none.
    pub(super) fn start(cpus: u8) -> Result<Self, MachineError> {
        let (sender, jobs) = channel();
        let thread = std::thread::Builder::new()
            .name("fitter".into())
            .spawn(move || work(&jobs, cpus))
            .map_err(|source| MachineError::Thread {
                what: "disks that come and go",
                source,
            })?;
        Ok(Self {
            jobs: Some(sender),
            thread: Some(thread),
        })
    }

    /// Opens a disk and makes its threads.
    ///
    /// # Errors
    /// A file is not what it must be, or the host gives no threads.
    pub(super) fn fit(&self, order: Order) -> Result<Fitted, ControlError> {
        let ended = || ControlError::new(ErrorKind::State, "the machine has ended");
        let (reply, answer) = sync_channel(1);
        self.send(Job::Fit(Box::new(order), reply));
        answer.recv().map_err(|_| ended())?
    }

    /// Ends the threads of a disk that has gone, and closes its files, without waiting for that.
    pub(super) fn close(&self, gone: Gone) {
        self.send(Job::Close(gone));
    }

    /// Ends the threads of a device behind which nothing is any more, without waiting for that.
    pub(super) fn end(&self, function: Arc<VirtioPci>) {
        self.send(Job::End(function));
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread ends with this handle, or by a panic, after which nothing runs.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Fitter {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(jobs: &Receiver<Job>, cpus: u8) {
    if let Err(error) = sandbox::confine(ThreadKind::Fitter) {
        // What it makes would be confined by its filter, too: it must have one.
        tracing::error!("{error}");
        std::process::abort();
    }
    let setup: Arc<dyn ThreadSetup> = Arc::new(DeviceThreads);
    for job in jobs {
        match job {
            // Whoever asked may have gone: then the disk goes, too.
            Job::Fit(order, reply) => drop(reply.send(fit(*order, cpus, &setup))),
            Job::Close(gone) => close(gone),
            Job::End(function) => drop(function),
        }
    }
}

fn fit(order: Order, cpus: u8, setup: &Arc<dyn ThreadSetup>) -> Result<Fitted, ControlError> {
    let Order { spec, files, paths } = order;
    let refused = |error: &dyn std::fmt::Display| ControlError::new(ErrorKind::File, error.to_string());
    let top = match files.last() {
        Some(file) => Some(FileId::of(file).map_err(|error| refused(&error))?),
        None => None,
    };
    let backing = spec.open_files(files, &paths).map_err(|error| refused(&error))?;
    let (block, drive) = Drive::make(&spec, &OpenDisk { backing, top }, cpus, setup)
        .map_err(|error| ControlError::new(ErrorKind::Internal, error.to_string()))?;
    let slot = spec.slot;
    Ok(Fitted { slot, block, drive })
}

fn close(gone: Gone) {
    let Gone {
        function,
        drive: Drive { disk, backing },
        closed,
    } = gone;
    // The threads end with it.
    drop(function);
    if let Err(error) = backing.flush() {
        tracing::warn!("writes to a disk that has gone may be lost: {error}");
    }
    drop(backing);
    let begun = Instant::now();
    while Arc::strong_count(&disk) > 1 && begun.elapsed() < LAST_USE {
        std::thread::sleep(LOOK);
    }
    drop(disk);
    closed();
}
