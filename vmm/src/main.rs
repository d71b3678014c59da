//! `kiln-vmm`: one process, one guest.

fn main() {}
