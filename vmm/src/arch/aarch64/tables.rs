//! What the guest is told of its machine: a device tree, still to be built.

use thiserror::Error;

use super::not_built;
use crate::arch::description::{Description, Places};
use crate::kvm::KvmError;
use crate::memory::GuestMemory;

/// The tree of a machine.
#[derive(Debug)]
pub struct Tables(());

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
