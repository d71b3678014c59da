//! Folders of the store.

use crate::{Code, Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Makes a folder that only its owner may look into, with those above it. Their names are durable when this returns:
/// what is put into a folder is no more durable than its way. A folder that was there and may be written but not read
/// cannot be synced; it is taken as it is.
pub fn make_private(path: &Path) -> Result<()> {
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

/// Writes a file of a folder, for its owner only, whole or not at all: what was there stays until it is on disk. Its name
/// is once the folder is [synced](sync_names).
pub(crate) fn replace(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    let place = folder.join(name);
    let writing = |error| Error::internal(format!("write {}", place.display()), error);
    let new = folder.join(format!("{name}.new"));
    // What a command that was killed has left.
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(writing)?;
    file.write_all(content).map_err(writing)?;
    file.sync_all().map_err(writing)?;
    std::fs::rename(&new, &place).map_err(writing)
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
