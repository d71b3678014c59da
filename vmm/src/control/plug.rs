//! `disks.plug` and `disks.unplug`: a disk comes, or goes, while the machine runs.

use std::fs::File;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::freeze::{alone, must_be_there};
use super::wire::{PlugArgs, PlugReply, UnplugArgs};
use super::{Call, ControlError, ErrorKind};
use crate::machine::PlugOrder;

/// Answers with a [`PlugReply`] when the disk is in its slot and the guest was told.
pub(super) fn plug(call: Call<'_>) -> Result<Value, ControlError> {
    let PlugArgs { disk: spec, paths } = understand(call.args)?;
    let files: Vec<File> = call.descriptors.into_iter().map(File::from).collect();
    if files.is_empty() || !(paths.is_empty() || paths.len() == files.len()) {
        let message = format!(
            "{} descriptors of a disk's files with {} paths",
            files.len(),
            paths.len()
        );
        return Err(ControlError::new(ErrorKind::Malformed, message));
    }
    // Until it is done, `status` says that it is not; and a request that is come to after its caller has died does
    // nothing. So whoever recovers for a caller learns what has become of it.
    let _alone = alone(call.context)?;
    must_be_there(call.caller)?;
    let slot = call.context.machine.plug(PlugOrder { spec, files, paths })?;
    serde_json::to_value(PlugReply { slot })
        .map_err(|error| ControlError::new(ErrorKind::Internal, error.to_string()))
}

/// Answered at once, whatever the guest makes of it.
pub(super) fn unplug(call: Call<'_>) -> Result<Value, ControlError> {
    let UnplugArgs { id, how } = understand(call.args)?;
    if !call.descriptors.is_empty() {
        let message = "`disks.unplug` takes no descriptors";
        return Err(ControlError::new(ErrorKind::Malformed, message));
    }
    let _alone = alone(call.context)?;
    must_be_there(call.caller)?;
    call.context.machine.unplug(&id, how).map(|()| Value::Null)
}

fn understand<T: DeserializeOwned>(args: Value) -> Result<T, ControlError> {
    serde_json::from_value(args).map_err(|error| ControlError::new(ErrorKind::Malformed, error.to_string()))
}
