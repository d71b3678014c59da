//! `pause` and `resume`: the vCPUs and the devices held, and let go.

use serde_json::Value;

use super::{Call, ControlError};

/// Holds them; answered when no vCPU runs and no request is in flight.
pub(super) fn pause(call: Call<'_>) -> Result<Value, ControlError> {
    call.takes_nothing()?.pause().map(|()| Value::Null)
}

/// Lets them go.
pub(super) fn resume(call: Call<'_>) -> Result<Value, ControlError> {
    call.takes_nothing()?.resume().map(|()| Value::Null)
}
