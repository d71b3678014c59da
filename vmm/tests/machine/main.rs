//! Whole machines with guests of a few instructions: what the VMM does, on any `/dev/kvm`.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report of a failure")]

mod clock;
mod entry;
mod exits;
mod firmware;
mod generation;
mod guest;
mod hold;
mod in_flight;
mod large;
mod power;
mod registers;
mod save;
mod smp;
mod streaming;
mod strings;
