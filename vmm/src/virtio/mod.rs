//! Virtio 1.2 devices: rings, worker threads, the PCI transport and the devices themselves.
//!
//! ```text
//!  guest driver ── rings in guest memory ──► VirtQueue ──► Chain ──► device worker thread(s)
//!       │                                        ▲                          │
//!       │ BAR 0: common, isr, device, notify     │ Activation               │ Interrupt
//!       └────────────────► transport::VirtioPci ─┘ ◄────────────────────────┘ (MSI-X, irqfd)
//! ```
//!
//! - [`VirtioDevice`] is what a device is to the transport: identity, features, configuration space
//!   and one lifecycle (start, pause, resume, reset, state, restore).
//! - [`VirtQueue`] is a ring as a device sees it. The driver on the other side is hostile: whatever it
//!   writes there either is a well-formed [`Chain`] or a named [`QueueError`], which ends in
//!   `DEVICE_NEEDS_RESET`. No value in guest memory makes the device panic, loop or allocate without
//!   bound.
//! - [`Worker`] is a device's thread. It exists from the construction of the device on, so that it can
//!   lock itself down before the guest runs, and it is idle while the driver has not started the device.
//!
//! Document: *Virtual I/O Device (VIRTIO) Version 1.2*, OASIS, 2022. Section numbers in this module and
//! below are that document's.

mod chain;
mod config_notice;
mod device;
mod error;
mod features;
mod guarded;
mod interrupt;
mod queue;
mod worker;

pub mod balloon;
pub mod block;
pub mod console;
pub mod net;
pub mod rng;
pub mod transport;

#[cfg(test)]
pub(crate) mod ring;

pub use chain::{Buffer, Chain, Slice};
pub use device::{Activation, DeviceError, DeviceState, DeviceType, VirtioDevice};
pub use error::QueueError;
pub use features::{EVENT_IDX, INDIRECT_DESC, VERSION_1};
pub use interrupt::Interrupt;
pub use queue::{QueueState, VirtQueue};
pub use worker::{Begin, Stop, Task, ThreadKind, ThreadSetup, Worker};

pub(crate) use guarded::Guarded;

use crate::memory::GuestMemory;
