//! `memory.snapshot`: the whole machine but for its disks' data, saved to two files.
//!
//! The caller opens both, empty, for writing, and hands over their descriptors: first the state's, then
//! the memory's. The machine is held while they are written and goes on before they are on disk; the
//! answer comes afterwards.

use std::fs::File;

use serde_json::Value;

use super::wire::{FileId, SaveReport};
use super::{Call, ControlError, ErrorKind};
use crate::saved::SavedFiles;

/// Answers with a [`SaveReport`].
pub(super) fn save(mut call: Call<'_>) -> Result<Value, ControlError> {
    let descriptors = std::mem::take(&mut call.descriptors);
    let count = descriptors.len();
    let files: Result<[File; 2], _> = descriptors
        .into_iter()
        .map(File::from)
        .collect::<Vec<_>>()
        .try_into();
    let Ok([state, memory]) = files else {
        let message = format!("it takes two descriptors, of the state's file and the memory's; {count} came");
        return Err(ControlError::new(ErrorKind::Malformed, message));
    };
    let machine = call.takes_nothing()?;
    for (what, file) in [("state", &state), ("memory", &memory)] {
        check(what, file)?;
    }
    if FileId::of(&state).map_err(internal)? == FileId::of(&memory).map_err(internal)? {
        return Err(ControlError::new(
            ErrorKind::File,
            "state and memory are the same file",
        ));
    }
    let sync = |file: &File| file.try_clone().map_err(internal);
    let copies = [sync(&memory)?, sync(&state)?];
    let report = machine.save(SavedFiles { state, memory })?;
    for file in copies {
        file.sync_all()
            .map_err(|error| ControlError::new(ErrorKind::NotSynced, error.to_string()))?;
    }
    serde_json::to_value::<SaveReport>(report).map_err(internal)
}

/// What is in use for something is not written over: the files must be new ones.
fn check(what: &str, file: &File) -> Result<(), ControlError> {
    let metadata = file.metadata().map_err(internal)?;
    if metadata.is_file() && metadata.len() == 0 {
        return Ok(());
    }
    let message = format!("the file for the {what} must be a regular and empty one");
    Err(ControlError::new(ErrorKind::File, message))
}

fn internal(error: impl std::fmt::Display) -> ControlError {
    ControlError::new(ErrorKind::Internal, error.to_string())
}
