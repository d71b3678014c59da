//! Folders of the store.

use crate::{Code, Error, Result};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a folder that only its owner may look into, with those above it. Their names are durable when this returns:
/// what is put into a folder is no more durable than its way. A folder that was there and may be written but not read
/// cannot be synced; it is taken as it is.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
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
    })?;
    missing
        .into_iter()
        .filter_map(Path::parent)
        .try_for_each(|folder| match sync(folder) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                tracing::debug!(folder = %folder.display(), "the folder may not be read, so it is not synced");
                Ok(())
            }
            synced => synced.map_err(|error| not_synced(folder, error)),
        })
}

/// Makes the names in a folder durable.
pub(crate) fn sync_names(folder: &Path) -> Result<()> {
    sync(folder).map_err(|error| not_synced(folder, error))
}

fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn not_synced(folder: &Path, error: std::io::Error) -> Error {
    Error::internal(format!("sync the folder {}", folder.display()), error)
}
