//! Folders of the store.

use crate::{Code, Error, Result};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a folder that only its owner may look into, with those above it.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => Error::new(
            Code::Unavailable,
            format!(
                "{} cannot be made: a file is in its place or above it",
                path.display()
            ),
        ),
        _ => Error::caused(
            Code::Unavailable,
            format!("make the folder {}", path.display()),
            error,
        ),
    })
}
