//! Network card (5.1): one pair of queues, and behind it a process that takes whole frames.
//!
//! ```text
//!   guest ── transmit queue ──► checked copies ──► stream ──► passt: the host's network, without privileges
//!         ◄── receive queue ─── frames ◄────────── stream ◄──
//!         ◄── configuration interrupt: the link is up, or down for good (the other side has gone)
//! ```
//!
//! Both directions have backpressure: what the other side does not take stays in the guest's ring, and what the guest
//! lends no buffers for stays in the stream. The guest's frames leave with its own address only, and no work is left to
//! the other side: checksums and segments are the guest's.

mod frame;
mod link;
mod mac_address;
mod spec;
mod stream;
mod task;

#[cfg(fuzzing)]
mod fuzzing;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

#[cfg(fuzzing)]
pub use fuzzing::serve_turns;
pub use mac_address::{BadMacAddress, MacAddress};
pub use spec::{ConnectError, MIN_MTU, NetSpec};

use self::link::Link;
use self::task::NetTask;
use super::device::read_bytes;
use super::{
    Activation, DeviceError, DeviceState, DeviceType, QueueState, ThreadKind, ThreadSetup, VirtioDevice,
    Worker,
};

/// The device tells how long frames may be (5.1.3).
pub const MTU: u64 = 1 << 3;
/// The device has an address (5.1.3).
pub const MAC: u64 = 1 << 5;
/// A frame may fill several buffers (5.1.3).
pub const MRG_RXBUF: u64 = 1 << 15;
/// The device tells whether its link is up (5.1.3).
pub const STATUS: u64 = 1 << 16;

/// Entries of each queue.
const QUEUE_SIZE: u16 = 256;
/// Receive and transmit (5.1.2).
const QUEUES: [u16; 2] = [QUEUE_SIZE; 2];

/// `VIRTIO_NET_S_LINK_UP` (5.1.4).
const LINK_UP: u16 = 1;

/// What the card says of itself.
#[derive(Clone, Copy, Debug)]
struct Card {
    mac: MacAddress,
    mtu: Option<u16>,
}

/// State of the device: all of it is the other side's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetState {}

/// The device.
#[derive(Debug)]
pub struct Net {
    worker: Worker<NetTask>,
    link: Arc<Link>,
    card: Card,
}

impl Net {
    /// Makes the card of `spec`, whose other side is at `socket`, and its thread.
    ///
    /// # Errors
    /// The host gives no thread.
    pub fn new(spec: &NetSpec, socket: OwnedFd, setup: Arc<dyn ThreadSetup>) -> Result<Self, DeviceError> {
        let worker = Worker::spawn("virtio-net".into(), ThreadKind::Net, setup).map_err(|source| {
            DeviceError::Host {
                what: "thread of the network card",
                source,
            }
        })?;
        let card = Card {
            mac: spec.mac,
            mtu: spec.mtu,
        };
        Ok(Self {
            worker,
            link: Arc::new(Link::new(socket)),
            card,
        })
    }
}

impl VirtioDevice for Net {
    fn device_type(&self) -> DeviceType {
        DeviceType::Net
    }

    fn features(&self) -> u64 {
        MAC | STATUS | MRG_RXBUF | self.card.mtu.map_or(0, |_| MTU)
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUES
    }

    /// `struct virtio_net_config` (5.1.4): address, status, pairs of queues, MTU.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let status = if self.link.is_up() { LINK_UP } else { 0 };
        let mut config = [0; 12];
        config[..6].copy_from_slice(&self.card.mac.bytes());
        config[6..8].copy_from_slice(&status.to_le_bytes());
        config[8..10].copy_from_slice(&1_u16.to_le_bytes());
        config[10..].copy_from_slice(&self.card.mtu.unwrap_or_default().to_le_bytes());
        read_bytes(&config, offset, data);
    }

    fn start(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let (begin, interrupt) = (activation.begin, Arc::clone(&activation.interrupt));
        let task = NetTask::new(activation, self.card, Arc::clone(&self.link))?;
        self.link.notice.connect(interrupt, begin);
        self.worker.start(task, begin);
        Ok(())
    }

    fn pause(&mut self) {
        self.worker.pause();
    }

    fn resume(&mut self) {
        self.link.notice.resume();
        self.worker.resume();
    }

    fn reset(&mut self) {
        self.worker.reset();
        self.link.notice.disconnect();
    }

    fn queues(&self) -> Vec<Option<QueueState>> {
        self.worker.paused().map(NetTask::queues).unwrap_or_default()
    }

    fn state(&self) -> DeviceState {
        DeviceState::Net(NetState {})
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        match state {
            DeviceState::Net(NetState {}) => Ok(()),
            other => Err(DeviceError::State(format!("it is of {}", other.name()))),
        }
    }
}
