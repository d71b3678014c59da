//! `reset`: the guest begins anew, the process goes on.

use serde_json::Value;

use super::{Call, ControlError};

/// Begins a reset; answered at once.
pub(super) fn reset(call: Call<'_>) -> Result<Value, ControlError> {
    call.takes_nothing()?.reset().map(|()| Value::Null)
}
