//! Disks as immutable qcow2 layers: chains, overlays, freeze.

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

pub use chain::{Chain, Prepared, Sealing};
pub use check::{Report, check_chain, check_layer, repair_leaks};
pub use disk::{Access, Disk, Segment, Unmap, read_exact_at, write_all_at};
pub use error::{DiskError, DiskErrorKind};
pub use gate::{GateError, resolve_chain};
pub use qcow2::{create_base, create_overlay};
pub use raw::RawDisk;
pub use store::{LayerId, Store};

#[cfg(test)]
mod tests;
