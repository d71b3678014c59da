//! Can this host's KVM run kernels? The architecture's own guest tells (`probe` in [`crate::arch`]).

use super::KvmError;
use crate::arch::native;
use crate::memory::MemoryError;

/// What the probe found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Kernels run.
    Usable,
    /// The device is there, kernels would not run on it; the text says why.
    Unusable(String),
}

/// The probe itself could not run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The device, or one of its calls.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The guest's two mebibytes.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Writing into them.
    #[error("cannot write the probe's guest: {0}")]
    Write(#[from] vm_memory::GuestMemoryError),
}

/// Runs the probe's guest on `/dev/kvm`.
///
/// # Errors
/// The guest could not be run at all.
pub fn run() -> Result<Verdict, ProbeError> {
    native::probe::run()
}
