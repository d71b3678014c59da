//! Files of packages between apt and dpkg-deb. None is believed for its name: apt writes under it
//! before it has checked anything, and what it was interrupted at stays.

use super::Package;
use crate::BuildError;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The file of this package in `folder`, if it is the one that the lists name. What has only its
/// name is removed.
pub(super) fn whole(folder: &Path, package: &Package) -> Result<Option<PathBuf>, BuildError> {
    let stem = format!("{}_{}_", package.name, package.version.replace(':', "%3a"));
    for entry in fs::read_dir(folder).map_err(BuildError::io("read", folder))? {
        let path = entry.map_err(BuildError::io("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(&stem) || !name.ends_with(".deb") {
            continue;
        }
        if sha256(&path).map_err(BuildError::io("read", &path))? == package.sha256 {
            return Ok(Some(path));
        }
        fs::remove_file(&path).map_err(BuildError::io("remove", &path))?;
    }
    Ok(None)
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut File::open(path)?, &mut digest)?;
    Ok(format!("{:x}", digest.finalize()))
}
