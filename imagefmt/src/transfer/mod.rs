//! Disks into the store, and out of it.
//!
//! ```text
//!  file ─► Source::open ─────────► import ─► new layer        holes stay holes: zeroes are
//!          raw | qcow2, or refused             (qcow2)        neither read where the file says
//!          by its name                                        so, nor ever written
//!  chain ─────────────────────────► export ─► raw | qcow2 file that stands alone
//! ```
//!
//! A file that is not what it is taken for would boot into nothing, or worse: a VMDK taken for a
//! raw disk is garbage, and a qcow2 file may name other files of this host. So a source is told
//! by its content, everything that is another format is refused by its name, and a qcow2 file
//! that needs any other file is refused, too.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod copy;
mod data_map;
mod detect;
mod error;
mod expansion;
mod export;
mod extents;
mod foreign;
mod import;
mod source;
mod survey;
mod tar;

pub use copy::Progress;
pub use data_map::DataMap;
pub use detect::{Detected, detect};
pub use error::TransferError;
pub use export::export;
pub use extents::{Everything, Extents, SparseFile};
pub use import::{Imported, import};
pub use source::{Source, check_beginning};

/// The formats that are taken and given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The disk's bytes, one after the other.
    Raw,
    /// qcow2, version 2 or 3.
    Qcow2,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        })
    }
}

#[cfg(test)]
mod tests;
