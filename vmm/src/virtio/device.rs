//! The contract between a transport and a device.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use super::{
    Begin, GuestMemory, Interrupt, QueueError, QueueState, VirtQueue, balloon, block, console, net, rng,
};

/// Device types (5) that exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u16)]
pub enum DeviceType {
    /// Network card (5.1).
    Net = 1,
    /// Block device (5.2).
    Block = 2,
    /// Console device (5.3).
    Console = 3,
    /// Entropy device (5.4).
    Rng = 4,
    /// Traditional memory balloon (5.5).
    Balloon = 5,
}

/// Why a device could not be started or restored.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// An operation of the host failed.
    #[error("{what}: {source}")]
    Host {
        /// What was being done.
        what: &'static str,
        /// What the host answered.
        source: io::Error,
    },
    /// The driver started the device without a queue that it cannot work without.
    #[error("queue {0} was not enabled by the driver")]
    QueueMissing(u16),
    /// A queue that the driver described is unusable.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A saved state does not belong to this device or contradicts itself.
    #[error("the saved state does not fit this device: {0}")]
    State(String),
}

/// What a device gets at `DRIVER_OK`.
pub struct Activation {
    /// Guest memory: the only memory that buffers may lie in.
    pub memory: GuestMemory,
    /// One entry for each of [`VirtioDevice::queue_sizes`]; `None` where the driver enabled none.
    pub queues: Vec<Option<VirtQueue>>,
    /// Readable when the driver kicked the queue of the same index. Not reset between two starts, so the
    /// first read may be stale: a started device looks at every queue once by itself.
    pub kicks: Vec<EventFd>,
    /// The way back.
    pub interrupt: Arc<dyn Interrupt>,
    /// Negotiated features: a subset of those offered, always with `VERSION_1`.
    pub features: u64,
    /// Whether it serves its queues at once.
    pub begin: Begin,
}

impl std::fmt::Debug for Activation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Activation")
            .field("queues", &self.queues)
            .field("features", &self.features)
            .finish()
    }
}

/// A virtio device behind any transport.
///
/// Lifecycle: *idle* → [`start`](Self::start) → *running* ⇄ ([`pause`](Self::pause) /
/// [`resume`](Self::resume)) *paused*; [`reset`](Self::reset) leads back to *idle* from everywhere. The
/// transport calls these one at a time, never two at once.
pub trait VirtioDevice: Send {
    /// The type, for the PCI device id.
    fn device_type(&self) -> DeviceType;

    /// Features of the device type that are offered; ring features are the transport's.
    fn features(&self) -> u64;

    /// Largest size of each queue, powers of two; the length is the number of queues.
    fn queue_sizes(&self) -> &[u16];

    /// Reads the device configuration. Bytes behind its end read as zero; any offset, any length.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes the device configuration; what may not be written is ignored.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    /// *idle* → *running*: the driver said `DRIVER_OK`. With [`Begin::Paused`] → *paused*.
    ///
    /// # Errors
    /// The device stays idle and the driver is told `DEVICE_NEEDS_RESET`.
    fn start(&mut self, activation: Activation) -> Result<(), DeviceError>;

    /// *running* → *paused*. Returns when every request that was taken from a ring is completed there and
    /// no thread of the device touches guest memory. No-op unless running.
    fn pause(&mut self);

    /// *paused* → *running*. No-op unless paused.
    fn resume(&mut self);

    /// → *idle*. When it returns, the device does not write to guest memory again until it is started.
    fn reset(&mut self);

    /// What is behind the device is taken away for good: whatever is asked of it fails from now on. In any state, which
    /// stays. A device with nothing behind it goes on.
    fn lose_backing(&mut self) {}

    /// How far each queue is; *paused* only, else nothing.
    fn queues(&self) -> Vec<Option<QueueState>>;

    /// The device's own state, for saving; in *idle* or *paused* only.
    fn state(&self) -> DeviceState;

    /// *idle*: takes over what [`state`](Self::state) gave; the queues come by `start`.
    ///
    /// # Errors
    /// The state is of another device type or contradicts this device's spec.
    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError>;
}

/// The serialisable state of a device of any type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "device", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeviceState {
    /// Of a network card.
    Net(net::NetState),
    /// Of a block device.
    Block(block::BlockState),
    /// Of a console.
    Console(console::ConsoleState),
    /// Of an entropy device.
    Rng(rng::RngState),
    /// Of a balloon.
    Balloon(balloon::BalloonState),
}

impl DeviceState {
    /// What kind of device it is of, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Net(_) => "a network card",
            Self::Block(_) => "a block device",
            Self::Console(_) => "a console",
            Self::Rng(_) => "an entropy device",
            Self::Balloon(_) => "a balloon",
        }
    }
}

/// Copies the part of `config` that starts at `offset` into `data` and zeroes the rest.
pub(crate) fn read_bytes(config: &[u8], offset: u64, data: &mut [u8]) {
    data.fill(0);
    let from = usize::try_from(offset)
        .ok()
        .and_then(|start| config.get(start..))
        .unwrap_or(&[]);
    for (to, byte) in data.iter_mut().zip(from) {
        *to = *byte;
    }
}
