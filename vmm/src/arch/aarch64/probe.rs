//! The probe: no kernel runs before machines of this architecture are built.

use super::not_built;
use crate::kvm::probe::{ProbeError, Verdict};

/// Says so.
///
/// # Errors
/// None.
pub fn run() -> Result<Verdict, ProbeError> {
    Ok(Verdict::Unusable(not_built().to_string()))
}
