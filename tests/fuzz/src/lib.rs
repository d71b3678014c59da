//! What the fuzz targets do with an input: a function for each, which calls the real entry point.
//!
//! ```text
//!  corpus ─► fuzz_targets/NAME ─► a function here ─► imagefmt, vmm, agent
//!             (libFuzzer)          sparse: an input as a large file with little in it
//! ```
//!
//! Whatever the bytes are, the answer is an error or a result: a panic, a crash, a wrong access of memory, more
//! memory or time than `make fuzz` allows is a finding. `tests/seeds.rs` makes the inputs to begin with, from real
//! files, and shows that each is understood.

pub mod agent;
pub mod boot;
pub mod control;
pub mod device;
pub mod disk;
pub mod firmware;
pub mod image;
pub mod pci;
pub mod saved;
pub mod sparse;
