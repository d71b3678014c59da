//! The PCI transport (4.1): a virtio device as a function on the PCI bus.
//!
//! - [`VirtioPci`]: the function, its capabilities, and how its device starts.
//! - `access`: what the bus does with it, in configuration space and in BAR 0.
//! - [`layout`]: what lies where in BAR 0.
//! - `common`: the common configuration registers and the device's state machine.
//! - [`VirtioPciState`]: all of it as plain data.
//! - `signals`: what device threads use of the transport: interrupts and `DEVICE_NEEDS_RESET`.

mod access;
mod common;
mod function;
pub mod layout;
mod signals;
mod state;

#[cfg(test)]
mod tests;

pub use common::{CommonState, QueueSetup};
pub use function::{VirtioPci, Wiring};
pub use state::VirtioPciState;

/// Device status (2.1): the driver noticed the device.
pub const ACKNOWLEDGE: u8 = 1;
/// The driver knows how to drive it.
pub const DRIVER: u8 = 2;
/// The driver is ready.
pub const DRIVER_OK: u8 = 4;
/// Features are agreed upon.
pub const FEATURES_OK: u8 = 8;
/// The device gave up on this driver until it is reset.
pub const DEVICE_NEEDS_RESET: u8 = 0x40;
/// The driver gave up.
pub const FAILED: u8 = 0x80;
/// No MSI-X vector (4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;
