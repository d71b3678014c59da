//! Bytes on disk: virtual disks as chains of immutable qcow2 layers.
//!
//! This crate knows files. It knows nothing of virtual machines, accounts or images.
//!
//! ```text
//!            read write flush discard            who needs it
//!                     │                          ────────────
//!              ┌──────▼──────┐
//!              │    Disk     │  a trait          virtio-blk, probe, transfer
//!              └──┬───────┬──┘
//!          ┌──────▼──┐ ┌──▼──────┐
//!          │  Chain  │ │ RawDisk │               a machine's disks
//!          └──┬──────┘ └──┬──────┘
//!   overlay   │ ─ ─ ─ ─ ─ │ ─ the one that is written
//!   layer     │           │
//!   base      │           │   sealed: never written again
//!          ┌──▼───────────▼──┐
//!          │ io: files       │                   all `unsafe` of the crate
//!          └─────────────────┘
//!
//!   Store: the folder of layers          gate: which backing names are opened
//!   check: contradictions and leaks      probe: partitions and file systems, read-only
//!   transfer: import and export
//! ```
//!
//! * [`Disk`] is what a guest sees: vectored requests over the caller's memory ([`Segment`]), from many
//!   threads at once, durable after a flush.
//! * [`Chain`] is a disk of qcow2 layers. [`Chain::prepare`], [`Chain::swap`] and [`Chain::sync_sealing`] put a new
//!   overlay on top while a guest writes: that is how a snapshot is made.
//! * [`Store`] makes, seals, lists and removes layers, whose names are [`LayerId`]s.
//! * [`check_layer`] counts references as `qemu-img check` does.
//!
//! A write goes in place where the top layer has the cluster to itself, else into a new cluster, filled as a
//! whole before a table refers to it; tables reach the disk when the guest flushes, in an order that leaves
//! nothing but leaks if the power is cut. `docs/storage.md` draws that order, and those of launch and freeze.

pub mod chain;
pub mod check;
pub mod disk;
pub mod error;
pub mod gate;
pub mod io;
mod lock;
pub mod probe;
pub mod qcow2;
pub mod raw;
pub mod store;
pub mod transfer;
mod zstd;

pub use chain::{Chain, Prepared, Sealing};
pub use check::{Report, check_chain, check_layer, repair_leaks};
pub use disk::{Access, Disk, Segment, Unmap, read_exact_at, write_all_at};
pub use error::{DiskError, DiskErrorKind};
pub use gate::{GateError, open_chain, resolve_chain};
pub use qcow2::{create_base, create_overlay};
pub use raw::RawDisk;
pub use store::{LayerId, Store};

#[cfg(test)]
mod tests;
