//! Behaviour that crosses crates, with real guests.
//!
//! ```text
//!   a test ──> Home ──> kiln …  (the real program)  ──> kiln-vmm ──> a real guest
//!               │
//!               └── a KILN_HOME of its own, started from a seed that holds the images
//! ```
//!
//! A test reads as a sentence: it makes a [`Home`], launches a [`Guest`] in it, and says what must be true. The tests
//! run where guests can run: on this host if it has hardware virtualization, else in the software machine
//! (`make test` takes care of it). Where no guest can be had they fail; none is skipped.

#![expect(clippy::panic, reason = "a test fails by a panic that says what was expected")]

pub mod access;
pub mod bounded;
pub mod canary;
pub mod executable;
pub mod guest;
pub mod home;
pub mod outcome;
pub mod program;
pub mod saved;
pub mod seed;
pub mod small_disk;

#[cfg(test)]
mod hostile_qcow2;

pub use access::Access;
pub use bounded::bounded;
pub use canary::Canary;
pub use executable::install;
pub use guest::Guest;
pub use home::Home;
pub use outcome::Outcome;
pub use program::Program;
pub use seed::suite;
pub use small_disk::SmallDisk;
