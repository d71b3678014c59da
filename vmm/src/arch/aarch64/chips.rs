//! The interrupt controller in the kernel: a GICv3 with its ITS, still to be built.

use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};

use super::{Unbuilt, not_built};
use crate::kvm::KvmError;

/// The interrupt controller, as KVM makes it.
pub struct Chips(Unbuilt);

/// What the kernel keeps of a machine besides its vCPUs, for saving.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChipsState(Unbuilt);

impl Chips {
    /// Makes that of the machine `fd`: here every attempt to have a machine ends.
    pub(crate) fn create(_: &VmFd) -> Result<Self, KvmError> {
        Err(not_built())
    }

    /// Puts that of the machine `fd` into this state. No vCPU may be running.
    pub(crate) fn write(&self, _: &VmFd) -> Result<(), KvmError> {
        match self.0 {}
    }
}

impl ChipsState {
    /// What the kernel keeps of the machine `fd`, whose vCPUs are held.
    pub(crate) fn read(_: &VmFd) -> Result<Self, KvmError> {
        Err(not_built())
    }

    /// Gives the machine `fd` this state, after the vCPUs have theirs.
    pub(crate) fn write(&self, _: &VmFd) -> Result<(), KvmError> {
        match self.0 {}
    }
}
