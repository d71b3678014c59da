//! The machine's data disk: a sparse raw file with ext4 in it that holds the store.
//!
//! The file's size is only a bound: it takes what was written, and what the machine frees is given
//! back (discard). The file system is made by the host's `mke2fs` and never mounted by the host.

use super::{Error, program};
use crate::size::Size;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::Command;

/// Makes the disk if it is not there, and grows it if it is smaller than `size`. It never shrinks.
///
/// The caller holds the machine's lock, and no QEMU runs.
pub(crate) fn ensure(path: &Path, size: u64) -> Result<(), Error> {
    match std::fs::metadata(path) {
        Ok(is) if is.len() >= size => Ok(()),
        Ok(_) => grow(path, size),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path, size),
        Err(error) => Err(Error::io("look at", path, &error)),
    }
}

/// The disk appears under its name only when it is complete.
fn make(path: &Path, size: u64) -> Result<(), Error> {
    let new = path.with_extension("new");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&new)
        .map_err(|e| Error::io("create", &new, &e))?;
    file.set_len(size).map_err(|e| Error::io("enlarge", &new, &e))?;
    // Few inodes, since a store has few files; a small journal: neither is written before it is used.
    run(Command::new(program("mke2fs")?)
        .args([
            "-q", "-F", "-t", "ext4", "-m", "0", "-i", "4194304", "-L", "kiln", "-J", "size=64",
        ])
        .args(["-E", "lazy_journal_init=1"])
        .arg(&new))?;
    file.sync_all().map_err(|e| Error::io("write", &new, &e))?;
    std::fs::rename(&new, path).map_err(|e| Error::io("rename", &new, &e))?;
    if let Some(folder) = path.parent() {
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| Error::io("write", folder, &e))?;
    }
    Ok(())
}

fn grow(path: &Path, size: u64) -> Result<(), Error> {
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|e| Error::io("open", path, &e))?;
    // e2fsck's status 1 says that it repaired something, which is what it is for.
    let checked = Command::new(program("e2fsck")?)
        .args(["-f", "-p"])
        .arg(path)
        .output()
        .map_err(|e| Error::new(format!("cannot run e2fsck: {e}")))?;
    if checked.status.code().is_none_or(|code| code > 1) {
        return Err(Error::new(format!(
            "the software machine's disk {} cannot grow to {}: e2fsck found errors that it does not repair by itself; run `e2fsck -f {}`",
            path.display(),
            Size::from_bytes(size),
            path.display()
        )));
    }
    file.set_len(size).map_err(|e| Error::io("enlarge", path, &e))?;
    run(Command::new(program("resize2fs")?).arg(path))?;
    file.sync_all().map_err(|e| Error::io("write", path, &e))
}

fn run(command: &mut Command) -> Result<(), Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| Error::new(format!("cannot run {name}: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no message");
    Err(Error::new(format!("{name} failed ({}): {last}", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_new_disk_is_sparse_and_grows_in_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("data.ext4");
        ensure(&path, 8 << 30).expect("mke2fs works");
        let made = std::fs::metadata(&path).expect("it exists");
        assert_eq!(made.len(), 8 << 30);
        assert!(
            made.blocks() * 512 < 32 << 20,
            "{} bytes are allocated",
            made.blocks() * 512
        );
        ensure(&path, 1 << 30).expect("a smaller wish changes nothing");
        assert_eq!(std::fs::metadata(&path).expect("it exists").len(), 8 << 30);
        ensure(&path, 12 << 30).expect("it grows");
        assert_eq!(std::fs::metadata(&path).expect("it exists").len(), 12 << 30);
        assert!(!path.with_extension("new").exists());
    }
}
