//! Block device (5.2) over a [`Disk`].
//!
//! ```text
//!  request queues ──► Intake (one thread at a time) ──► Request ──► Disk ──► status, used ring
//!                        ▲  BlockGate: closed = no request is taken, none in flight
//! ```
//!
//! A few threads a device serve all its queues: whichever is free waits for the next request, takes it
//! and, unless it is one that hardly ever waits for the host, lets the next thread wait, so requests overlap on the disk
//! and are completed out of order, whichever queue they came by. Several queues are for the guest's sake: its vCPUs put requests in
//! without waiting for each other, and each is interrupted for its own.

mod config;
mod gate;
mod intake;
mod lost;
mod request;
mod spec;
mod task;
mod traffic;

#[cfg(fuzzing)]
mod fuzzing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kiln_imagefmt::Disk;
use serde::{Deserialize, Serialize};

#[cfg(fuzzing)]
pub use fuzzing::serve_all;
pub use gate::{BlockGate, Passage};
pub use request::Serial;
pub use spec::{Backing, BlockSpec, DiskFormat, OpenError};
pub use traffic::DiskTraffic;

use self::config::{Config, FLUSH, READ_ONLY};
use self::intake::Intake;
use self::lost::Lost;
use self::task::BlockTask;
use super::device::read_bytes;
use super::{
    Activation, DeviceError, DeviceState, DeviceType, QueueState, ThreadKind, ThreadSetup, VirtioDevice,
    Worker,
};

/// Entries of the request queue.
const QUEUE_SIZE: u16 = 256;
/// Most request queues: what a thread that waits looks at.
pub const MAX_QUEUES: u16 = 16;
/// Threads of a device: enough that a slow request does not hold up the others.
const THREADS: usize = 4;
/// Most of them, where several vCPUs have a queue each.
const MOST_THREADS: usize = 8;

/// State of the device: which disk it has. Its data are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockState {
    /// Size of the disk in sectors of 512 bytes.
    pub sectors: u64,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// What the guest knows the disk by.
    pub serial: Serial,
}

impl std::fmt::Display for BlockState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.read_only {
            "a read-only disk"
        } else {
            "a disk"
        };
        let (serial, sectors) = (self.serial, self.sectors);
        write!(f, "{kind} of {sectors} sectors with the serial `{serial}`")
    }
}

/// The device.
pub struct Block {
    disk: Arc<dyn Disk>,
    gate: Arc<BlockGate>,
    serial: Serial,
    config: Config,
    queue_sizes: Vec<u16>,
    workers: Vec<Worker<BlockTask>>,
    intake: Option<Arc<Intake>>,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl Block {
    /// Makes the device with 1 to [`MAX_QUEUES`] `queues`, and its threads. `name` tells the threads of
    /// several disks apart.
    ///
    /// # Errors
    /// The host gives no threads.
    pub fn new(
        name: &str,
        disk: Arc<dyn Disk>,
        serial: Serial,
        queues: u16,
        setup: &Arc<dyn ThreadSetup>,
    ) -> Result<Self, DeviceError> {
        let worker = |n| Worker::spawn(format!("{name}-io{n}"), ThreadKind::Block, Arc::clone(setup));
        let queues = queues.clamp(1, MAX_QUEUES);
        let threads = (2 * usize::from(queues)).clamp(THREADS, MOST_THREADS);
        let workers = (0..threads)
            .map(worker)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| DeviceError::Host {
                what: "thread of a block device",
                source,
            })?;
        let config = Config::of(disk.as_ref(), QUEUE_SIZE, queues);
        Ok(Self {
            disk,
            gate: Arc::default(),
            serial,
            config,
            queue_sizes: vec![QUEUE_SIZE; queues.into()],
            workers,
            intake: None,
        })
    }

    fn identity(&self) -> BlockState {
        BlockState {
            sectors: self.config.sectors(),
            read_only: self.config.features() & READ_ONLY != 0,
            serial: self.serial,
        }
    }

    /// The gate in front of the disk: closed while layers are exchanged.
    pub fn gate(&self) -> Arc<BlockGate> {
        Arc::clone(&self.gate)
    }
}

impl Drop for Block {
    /// All threads are asked to stop before one is waited for: they wait for each other's turn.
    fn drop(&mut self) {
        self.reset();
    }
}

impl VirtioDevice for Block {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn features(&self) -> u64 {
        self.config.features()
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_bytes(&self.config.bytes(), offset, data);
    }

    fn start(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let Activation {
            memory,
            queues,
            kicks,
            features,
            begin,
            ..
        } = activation;
        // A driver that knows of no others uses the first (5.2.5).
        if queues.first().is_none_or(Option::is_none) {
            return Err(DeviceError::QueueMissing(0));
        }
        let intake = Arc::new(Intake::new(queues, kicks));
        for worker in &mut self.workers {
            let task = BlockTask {
                intake: Arc::clone(&intake),
                gate: Arc::clone(&self.gate),
                disk: Arc::clone(&self.disk),
                memory: memory.clone(),
                serial: self.serial,
                read_only: self.config.features() & READ_ONLY != 0,
                write_through: features & FLUSH == 0,
            };
            worker.start(task, begin);
        }
        self.intake = Some(intake);
        Ok(())
    }

    fn pause(&mut self) {
        for worker in &self.workers {
            worker.ask_to_stop();
        }
        for worker in &mut self.workers {
            worker.pause();
        }
    }

    fn resume(&mut self) {
        for worker in &mut self.workers {
            worker.resume();
        }
    }

    fn reset(&mut self) {
        self.pause();
        for worker in &mut self.workers {
            worker.reset();
        }
        self.intake = None;
    }

    fn lose_backing(&mut self) {
        let lost: Arc<dyn Disk> = Arc::new(Lost::of(self.disk.as_ref()));
        let ran = self.workers.iter().any(Worker::is_running);
        self.pause();
        self.disk = Arc::clone(&lost);
        for worker in &mut self.workers {
            worker.change(|task| task.disk = Arc::clone(&lost));
        }
        if ran {
            self.resume();
        }
    }

    fn queues(&self) -> Vec<Option<QueueState>> {
        let states = |intake: &Arc<Intake>| intake.states(self.queue_sizes.len());
        self.intake.as_ref().map(states).unwrap_or_default()
    }

    fn state(&self) -> DeviceState {
        DeviceState::Block(self.identity())
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        match state {
            DeviceState::Block(state) if *state == self.identity() => Ok(()),
            DeviceState::Block(state) => Err(DeviceError::State(format!(
                "it is of {state}; here is {}",
                self.identity()
            ))),
            other => Err(DeviceError::State(format!("it is of {}", other.name()))),
        }
    }
}
