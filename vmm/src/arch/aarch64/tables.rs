//! What the guest is told of its machine: a device tree, still to be built.

use thiserror::Error;

use super::not_built;
use crate::kvm::KvmError;
use crate::memory::GuestMemory;
use crate::smbios::Identity;

/// What the tree says that is not the same for all machines.
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
}

/// The tree of a machine.
#[derive(Debug)]
pub struct Tables(());

/// Where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// What the kernel is pointed to: the tree.
    pub root: u64,
    /// The generation id.
    pub generation: u64,
}

/// The tree cannot be put into memory.
#[derive(Debug, Error)]
pub enum TablesError {
    /// It is still to be built.
    #[error(transparent)]
    NotBuilt(#[from] KvmError),
}

impl Tables {
    /// That of the machine that is described.
    pub fn new(_: &Description<'_>) -> Self {
        Self(())
    }

    /// Writes it where the kernel is pointed to.
    ///
    /// # Errors
    /// It is still to be built.
    pub fn write(&self, _: &GuestMemory) -> Result<Places, TablesError> {
        Err(not_built().into())
    }
}
