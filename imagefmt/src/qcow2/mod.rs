//! The qcow2 format, version 3 (and 2 for reading), after QEMU's `docs/interop/qcow2.rst`.

mod create;
mod fault;

pub use create::{create_base, create_overlay};
pub use fault::Fault;
