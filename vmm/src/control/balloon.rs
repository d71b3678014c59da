//! `memory.balloon`: the guest is asked to give up memory, or to have it again.

use serde_json::Value;

use super::wire::{BalloonArgs, BalloonStatus};
use super::{Call, ControlError, ErrorKind};

/// Answers at once with a [`BalloonStatus`], whatever the guest makes of it.
pub(super) fn balloon(call: Call<'_>) -> Result<Value, ControlError> {
    let BalloonArgs { target_bytes } = serde_json::from_value(call.args)
        .map_err(|error| ControlError::new(ErrorKind::Malformed, error.to_string()))?;
    if !call.descriptors.is_empty() {
        let message = "`memory.balloon` takes no descriptors";
        return Err(ControlError::new(ErrorKind::Malformed, message));
    }
    let level = call.context.machine.balloon();
    let level = level.ok_or_else(|| ControlError::new(ErrorKind::State, "this machine has no balloon"))?;
    level
        .aim(target_bytes)
        .map_err(|error| ControlError::new(ErrorKind::State, error.to_string()))?;
    serde_json::to_value(BalloonStatus::of(&level))
        .map_err(|error| ControlError::new(ErrorKind::Internal, error.to_string()))
}
