//! The PCI bus: one root bus with a host bridge and functions in numbered slots.
//!
//! ```text
//!  vCPU exit ── ports 0xCF8/0xCFC ──► ConfigPorts ─┐
//!           ├── ECAM 0xB0000000 ────► Ecam ────────┼─► PciBus ─► PciFunction (config space, BARs)
//!           └── window 0xC0000000 ──► BarWindow ───┘      │            │
//!                                                         │            └─► Msix ─► MsiRouter (irqfd)
//!                                                         └─ BAR map, moved as the guest moves BARs
//! ```
//!
//! - [`PciBus`] owns the slots and the one map of what is decoded where; the guest's view (config space)
//!   and the routing are two readings of the same registers, so they cannot disagree.
//! - [`PciFunction`] is a function in a slot: [`HostBridge`] here, virtio devices in
//!   [`crate::virtio::transport`].
//! - [`Msix`] is a function's vector table; it reaches the irqchip through the small trait
//!   [`MsiRouter`]. [`Doorbells`] is the same for ioeventfds.
//!
//! Documents: *PCI Local Bus Specification 3.0*, *PCI Express Base Specification 3.0* (7.2.2, ECAM).

mod access;
mod bus;
mod config;
mod host_bridge;
mod msix;

#[cfg(test)]
pub(crate) mod fake;

pub use access::{BarWindow, ConfigPorts, Ecam};
pub use bus::{Doorbells, PciBus, PciBusState, PciError, PciFunction, Requester, Slot};
pub use config::{BarKind, Capability, ConfigSpace, ConfigState, Identity};
pub use host_bridge::HostBridge;
pub use msix::{MsiMessage, MsiRouter, MsiVector, Msix, MsixState};

/// First address of the memory-mapped configuration space (ECAM) of 256 buses.
pub const ECAM_BASE: u64 = 0xb000_0000;
/// Its length: 1 MiB a bus.
pub const ECAM_SIZE: u64 = 256 << 20;
/// First address of the window for 32-bit BARs.
pub const WINDOW_BASE: u64 = 0xc000_0000;
/// Its length: it ends where the I/O APIC's page begins.
pub const WINDOW_SIZE: u64 = 0xfec0_0000 - WINDOW_BASE;
/// The first of the two configuration ports, 0xCF8 (address) and 0xCFC (data).
pub const CONFIG_PORTS: u16 = 0xcf8;
/// Ports from [`CONFIG_PORTS`] on that [`ConfigPorts`] serves.
pub const CONFIG_PORTS_LEN: u64 = 8;
