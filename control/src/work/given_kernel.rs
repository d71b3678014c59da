//! A kernel that was given, as files in its instance's folder.
//!
//! The catalogue names them ([`InstanceBoot::kernel_names`]). They are on disk before it does, and go after it has let go
//! of them.

use crate::catalog::instances::InstanceBoot;
use crate::folder::sync_names;
use crate::instance::KernelFiles;
use crate::{Code, Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Copies a kernel into a folder, by the names that `boot` has for it. It is on disk when this returns, its names are when
/// the folder is synced.
pub(super) fn put(folder: &Path, boot: &InstanceBoot, files: &KernelFiles) -> Result<()> {
    let Some((kernel, initrd)) = boot.kernel_names() else {
        return Ok(());
    };
    copy(&files.kernel, folder, &kernel, "kernel")?;
    match (&files.initrd, initrd) {
        (Some(file), Some(name)) => copy(file, folder, &name, "initrd"),
        _ => Ok(()),
    }
}

/// Removes every kernel of a folder that `boot` does not name, durably.
pub(super) fn remove_others(folder: &Path, boot: &InstanceBoot) -> Result<()> {
    let named = boot.kernel_names();
    let is_named = |name: &str| {
        named
            .as_ref()
            .is_some_and(|(kernel, initrd)| kernel == name || initrd.as_deref() == Some(name))
    };
    let looking = |error| Error::internal(format!("look into {}", folder.display()), error);
    let mut is_any = false;
    for entry in std::fs::read_dir(folder).map_err(looking)? {
        let entry = entry.map_err(looking)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let word = name.split_once('.').map_or(name, |(word, _)| word);
        if matches!(word, "kernel" | "initrd") && !is_named(name) {
            let path = entry.path();
            std::fs::remove_file(&path)
                .map_err(|error| Error::internal(format!("remove {}", path.display()), error))?;
            is_any = true;
        }
    }
    if is_any { sync_names(folder) } else { Ok(()) }
}

/// Copies a file that is open, from its beginning, wherever its cursor is.
fn copy(from: &File, folder: &Path, name: &str, what: &str) -> Result<()> {
    let to = folder.join(name);
    let copying = |error| Error::internal(format!("copy to {}", to.display()), error);
    let mut source = from.try_clone().map_err(copying)?;
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&to)
        .map_err(copying)?;
    // A pipe cannot be rewound: it is read from where it is, and what a second instance gets of it is nothing.
    let _ = source.seek(SeekFrom::Start(0));
    if std::io::copy(&mut source, &mut target).map_err(copying)? == 0 {
        return Err(Error::new(
            Code::InvalidParameterValue,
            format!("the {what} that was given is empty"),
        ));
    }
    target.sync_all().map_err(copying)
}
