//! Traditional memory balloon with free page reporting (5.5): memory that the guest does not need goes back to the
//! host.
//!
//! ```text
//!   guest: its free memory  ── reporting queue: ranges ──► given back to the host; the guest reads zeroes there,
//!          its balloon      ── inflate queue: pages ─────► and has the memory again by touching it
//!                           ── deflate queue: pages ─────► nothing: they come back by being touched
//!        ▲ num_pages (configuration, an interrupt) ◄── BalloonLevel ◄── control socket, `memory.balloon`
//!        └ actual ─────────────────────────────────────────► BalloonLevel ──► `status`
//! ```
//!
//! Whatever the driver names is the guest's own memory: what it does not lie in is refused, and of what does only whole
//! pages go. A guest that names what it still uses, or what another device is at, harms itself alone.
//!
//! Pages of the host's pool stay where they are: they are reserved for this machine, so nobody else would have them,
//! and one that was given back could be missing when the guest wants it again.

mod level;
mod pages;
mod task;

#[cfg(fuzzing)]
mod fuzzing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

#[cfg(fuzzing)]
pub use fuzzing::serve_turns;
pub use level::{BalloonLevel, BalloonState, TargetError};

use self::task::BalloonTask;
use super::device::read_bytes;
use super::{
    Activation, DeviceError, DeviceState, DeviceType, QueueState, ThreadKind, ThreadSetup, VirtioDevice,
    Worker,
};
use crate::memory::HugePages;

/// The guest takes pages out of its balloon before it ends a program for want of memory (5.5.3).
pub const DEFLATE_ON_OOM: u64 = 1 << 2;
/// The guest says which of its memory is free (5.5.3).
pub const REPORTING: u64 = 1 << 5;

/// Entries of each queue. Linux wants 32 at least of the one by which it reports.
const QUEUE_SIZE: u16 = 64;
/// Inflate, deflate, and reporting: Linux and QEMU number queues without those of features that are not there, here
/// those of statistics and of hints (5.5.2).
const QUEUES: [u16; 3] = [QUEUE_SIZE; 3];

/// Where `actual` is in `struct virtio_balloon_config` (5.5.4), behind `num_pages`.
const ACTUAL: u64 = 4;

/// A balloon of a machine's spec. A machine has one at most: its slot is its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonSpec {}

/// The device.
#[derive(Debug)]
pub struct Balloon {
    worker: Worker<BalloonTask>,
    level: Arc<BalloonLevel>,
    pages: HugePages,
}

impl Balloon {
    /// Makes the device of a guest with `memory` bytes in `pages`, and its thread.
    ///
    /// # Errors
    /// The host gives no thread.
    pub fn new(memory: u64, pages: HugePages, setup: Arc<dyn ThreadSetup>) -> Result<Self, DeviceError> {
        let worker =
            Worker::spawn("virtio-balloon".into(), ThreadKind::Balloon, setup).map_err(|source| {
                DeviceError::Host {
                    what: "thread of the balloon",
                    source,
                }
            })?;
        Ok(Self {
            worker,
            level: Arc::new(BalloonLevel::new(memory)),
            pages,
        })
    }

    /// What the guest is asked to give up and what it says that it has: for those who control the machine.
    pub fn level(&self) -> &Arc<BalloonLevel> {
        &self.level
    }
}

impl VirtioDevice for Balloon {
    fn device_type(&self) -> DeviceType {
        DeviceType::Balloon
    }

    fn features(&self) -> u64 {
        DEFLATE_ON_OOM | REPORTING
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let BalloonState { target, actual } = self.level.state();
        let mut config = [0; 8];
        config[..4].copy_from_slice(&target.to_le_bytes());
        config[4..].copy_from_slice(&actual.to_le_bytes());
        read_bytes(&config, offset, data);
    }

    /// `actual` alone is the driver's, and is written whole.
    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let (ACTUAL, Ok(bytes)) = (offset, data.try_into()) {
            self.level.note_actual(u32::from_le_bytes(bytes));
        }
    }

    fn start(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let (begin, interrupt) = (activation.begin, Arc::clone(&activation.interrupt));
        let task = BalloonTask::new(activation, self.pages)?;
        self.level.notice.connect(interrupt, begin);
        self.worker.start(task, begin);
        Ok(())
    }

    fn pause(&mut self) {
        self.worker.pause();
    }

    fn resume(&mut self) {
        self.level.notice.resume();
        self.worker.resume();
    }

    /// What was in the balloon is the new driver's again; the target stays, which is the host's.
    fn reset(&mut self) {
        self.worker.reset();
        self.level.notice.disconnect();
        self.level.note_actual(0);
    }

    fn queues(&self) -> Vec<Option<QueueState>> {
        self.worker.paused().map(BalloonTask::queues).unwrap_or_default()
    }

    fn state(&self) -> DeviceState {
        DeviceState::Balloon(self.level.state())
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        match state {
            DeviceState::Balloon(state) => self
                .level
                .restore(*state)
                .map_err(|error| DeviceError::State(error.to_string())),
            other => Err(DeviceError::State(format!("it is of {}", other.name()))),
        }
    }
}
