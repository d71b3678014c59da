//! What came whole, put in its place.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Moves the file or folder `from` to `to`, on the same file system: over a file that is there, and into a folder that is
/// there already, whose other content stays. No link in that folder is followed: it is replaced, unless a folder were to
/// take its place.
///
/// # Errors
/// The host refuses, one of the two is a folder and the other is not, or what is there is neither that nor a file: with
/// the path where that is.
pub fn settle(from: &Path, to: &Path) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error: io::Error| (to.to_owned(), error);
    let is_folder = std::fs::symlink_metadata(from).map_err(failed)?.is_dir();
    match std::fs::symlink_metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => rename(from, to).map_err(failed),
        Err(error) => Err(failed(error)),
        Ok(is) if is.is_dir() && is_folder => {
            // To be emptied it must be one that may be changed.
            std::fs::set_permissions(from, Permissions::from_mode(0o700)).map_err(failed)?;
            for entry in std::fs::read_dir(from).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                settle(&from.join(&name), &to.join(&name))?;
            }
            std::fs::remove_dir(from).map_err(failed)
        }
        Ok(is) if is.is_dir() => Err(failed(io::ErrorKind::IsADirectory.into())),
        Ok(_) if is_folder => Err(failed(io::ErrorKind::NotADirectory.into())),
        Ok(is) if is.is_file() || is.is_symlink() => rename(from, to).map_err(failed),
        Ok(_) => Err(failed(io::Error::other("a device, a FIFO or a socket is there"))),
    }
}

/// A folder that nobody may change cannot get another parent (rename(2)): it may for that long.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let is = std::fs::symlink_metadata(from)?;
    if !is.is_dir() {
        return std::fs::rename(from, to);
    }
    std::fs::set_permissions(from, Permissions::from_mode(0o700))?;
    std::fs::rename(from, to)?;
    std::fs::set_permissions(to, is.permissions())
}
