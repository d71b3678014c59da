//! The qcow2 format, version 3 (and 2 for reading), after QEMU's `docs/interop/qcow2.rst`.
//!
//! `layer` is one file. What reads it, from the bytes up: `geometry` (typed addresses), `header` (with
//! `raw_header` and `extensions`), `entry` (table entries), `tables` (their cache), `compressed`, `mapping`
//! (where a range is), `stack` (layers on top of each other). What writes it: `create`, `refcount` and
//! `extents` (the allocator), `write`, `discard`, `grow`, and `commit`, which holds the order in which all of
//! it reaches the disk. `inspect` counts references.

mod commit;
mod compressed;
mod create;
mod discard;
mod entry;
mod extensions;
mod extents;
mod fault;
mod geometry;
mod grow;
mod header;
mod inspect;
mod layer;
mod mapping;
mod open;
mod raw_header;
mod refcount;
mod stack;
mod tables;
mod write;
mod writer;

pub(crate) use create::{SIZE_LIMIT, format, sync_folder};
pub use create::{create_base, create_overlay};
pub use fault::Fault;
pub(crate) use geometry::ENTRY;
pub(crate) use header::Header;
pub(crate) use layer::Layer;
pub(crate) use stack::{Source, Stack};
pub(crate) use tables::SEALED_SLICES;
