//! `kill`: the machine ends at once.

use serde_json::Value;

use super::{Call, ControlError};

/// Ends it; the caller may see its connection close before the answer, which means the same.
pub(super) fn kill(call: Call<'_>) -> Result<Value, ControlError> {
    call.takes_nothing()?
        .kill("killed by request over the control socket");
    Ok(Value::Null)
}
