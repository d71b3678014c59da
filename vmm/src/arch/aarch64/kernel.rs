//! Loading a Linux kernel: an `Image`, still to be built.

use super::not_built;
use crate::boot::kernel::{KernelSet, LoadError, Loaded, Platform};

/// Loads a kernel into a machine.
///
/// # Errors
/// It is still to be built.
pub fn load(_: &KernelSet<'_>, _: &Platform<'_>) -> Result<Loaded, LoadError> {
    Err(LoadError::NoEntry(not_built().to_string()))
}
