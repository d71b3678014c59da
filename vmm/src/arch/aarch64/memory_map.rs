//! Which guest physical addresses are RAM: one region, whatever its size.

use super::layout::RAM;

/// The memory map of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryMap {
    bytes: u64,
}

impl MemoryMap {
    /// The map of a machine with `bytes` of RAM.
    pub fn new(bytes: u64) -> Self {
        Self { bytes }
    }

    /// The RAM: address and length of each region.
    pub fn ram(&self) -> Vec<(u64, u64)> {
        vec![(RAM, self.bytes)]
    }
}
