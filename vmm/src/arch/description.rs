//! What a guest is told of its machine, in whatever form its architecture has for it.

use crate::pci::SlotSet;
use crate::smbios::Identity;

/// What is not the same for all machines.
#[derive(Debug, Clone, Copy)]
pub struct Description<'a> {
    /// Number of vCPUs; their ids are 0 and up.
    pub cpus: u8,
    /// Which machine it is.
    pub identity: &'a Identity,
    /// Its RAM: address and length of each region, in bytes.
    pub ram: &'a [(u64, u64)],
    /// Its generation id.
    pub generation: [u8; 16],
    /// The slots into which something can be put, or out of which taken, while it runs.
    pub pluggable: SlotSet,
}

/// Where a description lies in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// What the kernel is pointed to: the RSDP, or the device tree.
    pub root: u64,
    /// The generation id.
    pub generation: u64,
}
