//! The PCI bus: one root bus with a host bridge and functions in numbered slots.
//!
//! ```text
//!  vCPU exit ── ports (x86) ────────► ConfigPorts ─┐
//!           ├── ECAM ───────────────► Ecam ────────┼─► PciBus ─► PciFunction (config space, BARs)
//!           └── window of BARs ─────► BarWindow ───┘      │            │
//!                                                         │            └─► Msix ─► MsiRouter (irqfd)
//!                                                         └─ BAR map, moved as the guest moves BARs
//! ```
//!
//! - [`PciBus`] owns the slots and the one map of what is decoded where; the guest's view (config space)
//!   and the routing are two readings of the same registers, so they cannot disagree.
//! - [`PciFunction`] is a function in a slot: [`HostBridge`] here, virtio devices in
//!   [`crate::virtio::transport`].
//! - [`Hotplug`] has the registers by which functions come and go while the guest runs.
//! - [`Msix`] is a function's vector table; it reaches the irqchip through the small trait
//!   [`MsiRouter`]. [`Doorbells`] is the same for ioeventfds.
//!
//! Documents: *PCI Local Bus Specification 3.0*, *PCI Express Base Specification 3.0* (7.2.2, ECAM).

mod access;
mod bus;
mod config;
mod doorbells;
mod function;
mod host_bridge;
pub mod hotplug;
mod msix;

#[cfg(test)]
pub(crate) mod fake;

use crate::arch::native::layout;

pub use access::{BarWindow, ConfigPorts, Ecam};
pub use bus::{PciBus, PciBusState, PciError};
pub use config::{BarKind, Capability, ConfigSpace, ConfigState, Identity};
pub use doorbells::Doorbells;
pub use function::{PciFunction, Requester, Slot, SlotSet};
pub use host_bridge::HostBridge;
pub use hotplug::{Hotplug, HotplugState};
pub use msix::{MsiMessage, MsiRouter, MsiVector, Msix, MsixState};

/// First address of the memory-mapped configuration space (ECAM).
pub const ECAM_BASE: u64 = layout::ECAM;
/// First address of the window for 32-bit BARs.
pub const WINDOW_BASE: u64 = layout::BARS;
/// Its length.
pub const WINDOW_SIZE: u64 = layout::BARS_LEN;
/// How many configuration ports [`ConfigPorts`] serves: of address, then of data, as on a PC.
pub const CONFIG_PORTS_LEN: u64 = 8;
