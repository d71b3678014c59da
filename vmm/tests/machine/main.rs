//! Whole machines with guests of a few instructions: what the VMM does, on any `/dev/kvm`.

mod entry;
mod exits;
mod guest;
mod power;
mod smp;
