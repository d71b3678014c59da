//! `powerdown`: the ACPI power button.

use serde_json::Value;

use super::{Call, ControlError};

/// Presses it; answered at once, whatever the guest makes of it.
pub(super) fn powerdown(call: Call<'_>) -> Result<Value, ControlError> {
    call.takes_nothing()?.powerdown().map(|()| Value::Null)
}
