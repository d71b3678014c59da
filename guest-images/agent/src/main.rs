//! The daemon in the guest.
fn main() {}
