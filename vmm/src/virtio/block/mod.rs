//! Block device (5.2) over a [`Disk`].
//!
//! ```text
//!  request queue ──► Intake (one thread at a time) ──► Request ──► Disk ──► status, used ring
//!                        ▲  BlockGate: closed = no request is taken, none in flight
//! ```
//!
//! A few threads a device serve its one queue: whichever is free waits for the next request, takes it
//! and lets the next thread wait, so requests overlap on the disk and are completed out of order.

mod config;
mod gate;
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
pub use gate::BlockGate;
pub use request::Serial;
pub use spec::{Backing, BlockSpec, DiskFormat, OpenError};
pub use traffic::DiskTraffic;

use self::config::{Config, FLUSH, READ_ONLY};
use self::task::{BlockTask, Intake};
use super::device::read_bytes;
use super::{
    Activation, DeviceError, DeviceState, DeviceType, QueueState, ThreadKind, ThreadSetup, VirtioDevice,
    Worker,
};

/// Entries of the request queue.
const QUEUE_SIZE: u16 = 256;
/// Threads of a device: enough that a slow request does not hold up the others.
const THREADS: usize = 4;

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
    /// Makes the device and its threads. `name` tells the threads of several disks apart.
    ///
    /// # Errors
    /// The host gives no threads.
    pub fn new(
        name: &str,
        disk: Arc<dyn Disk>,
        serial: Serial,
        setup: &Arc<dyn ThreadSetup>,
    ) -> Result<Self, DeviceError> {
        let worker = |n| Worker::spawn(format!("{name}-io{n}"), ThreadKind::Block, Arc::clone(setup));
        let workers = (0..THREADS)
            .map(worker)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| DeviceError::Host {
                what: "thread of a block device",
                source,
            })?;
        let config = Config::of(disk.as_ref(), QUEUE_SIZE);
        Ok(Self {
            disk,
            gate: Arc::default(),
            serial,
            config,
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
        &[QUEUE_SIZE]
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
        let queue = queues
            .into_iter()
            .next()
            .flatten()
            .ok_or(DeviceError::QueueMissing(0))?;
        let kick = kicks.into_iter().next().ok_or(DeviceError::QueueMissing(0))?;
        let intake = Arc::new(Intake::new(queue, kick));
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

    fn queues(&self) -> Vec<Option<QueueState>> {
        self.intake.iter().map(|intake| Some(intake.state())).collect()
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
