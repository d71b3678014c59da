//! The machine's data disk: a sparse raw file with ext4 in it that holds the store.
//!
//! The file's size is only a bound: it takes what was written, and what the machine frees is given
//! back (discard). The file system is made by the host's `mke2fs` and never mounted by the host.

use super::{Error, program, spawn_with};
use crate::size::Size;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A group of blocks of ext4. The file system may leave a part of one at its end unused.
const GROUP: u64 = 128 << 20;

/// Makes the disk if it is not there, and grows it if its file system is smaller than `size`, to the group. It never
/// shrinks. What was broken off is done by the next call.
///
/// The caller holds the machine's `lock`, and no QEMU runs.
pub(crate) fn ensure(path: &Path, size: u64, lock: &File) -> Result<(), Error> {
    let size = size / GROUP * GROUP;
    match file_system_size(path) {
        Ok(is) if is >= size => Ok(()),
        Ok(_) => grow(path, size, lock),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path, size, lock),
        Err(error) => Err(Error::io("look at", path, &error)),
    }
}

/// The disk's size; none if there is no disk.
pub(crate) fn size(path: &Path) -> Option<Size> {
    file_system_size(path).ok().map(Size::from_bytes)
}

/// As the superblock says, which changes when a growth is done (Linux, Documentation/filesystems/ext4/super.rst).
fn file_system_size(path: &Path) -> std::io::Result<u64> {
    let disk = File::open(path)?;
    let field = |at: u64| {
        let mut bytes = [0; 4];
        disk.read_exact_at(&mut bytes, 1024 + at)?;
        std::io::Result::Ok(u32::from_le_bytes(bytes))
    };
    let blocks = u64::from(field(0x150)?) << 32 | u64::from(field(0x4)?);
    let block = 1024_u64.checked_shl(field(0x18)?).unwrap_or(0);
    Ok(blocks.saturating_mul(block))
}

/// The disk appears under its name only when it is complete.
fn make(path: &Path, size: u64, lock: &File) -> Result<(), Error> {
    let new = path.with_extension("new");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&new)
        .map_err(|e| Error::io("create", &new, &e))?;
    file.set_len(size).map_err(|e| Error::io("enlarge", &new, &e))?;
    // Few inodes, since a store has few files; a small journal: neither is written before it is used.
    let mut mke2fs = Command::new(program("mke2fs")?);
    mke2fs
        .args([
            "-q", "-F", "-t", "ext4", "-m", "0", "-i", "4194304", "-L", "kiln", "-J", "size=64",
        ])
        .args(["-E", "lazy_journal_init=1"])
        .arg(&new);
    run(&mut mke2fs, lock)?;
    file.sync_all().map_err(|e| Error::io("write", &new, &e))?;
    std::fs::rename(&new, path).map_err(|e| Error::io("rename", &new, &e))?;
    if let Some(folder) = path.parent() {
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| Error::io("write", folder, &e))?;
    }
    Ok(())
}

fn grow(path: &Path, size: u64, lock: &File) -> Result<(), Error> {
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|e| Error::io("open", path, &e))?;
    // e2fsck's status 1 says that it repaired something, which is what it is for.
    let checked = output(
        Command::new(program("e2fsck")?).args(["-f", "-p"]).arg(path),
        lock,
    )?;
    if checked.status.code().is_none_or(|code| code > 1) {
        return Err(Error::new(format!(
            "the software machine's disk {} cannot grow to {}: e2fsck found errors that it does not repair by itself; run `e2fsck -f {}`",
            path.display(),
            Size::from_bytes(size),
            path.display()
        )));
    }
    file.metadata()
        .and_then(|is| file.set_len(is.len().max(size)))
        .map_err(|e| Error::io("enlarge", path, &e))?;
    run(Command::new(program("resize2fs")?).arg(path), lock)?;
    file.sync_all().map_err(|e| Error::io("write", path, &e))
}

/// It holds the lock, too, and goes on when its caller is killed: half a change would be worse, and nobody mounts the
/// disk before it is done.
fn output(command: &mut Command, lock: &File) -> Result<Output, Error> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawn_with(command, &[lock.as_fd()])
        .and_then(Child::wait_with_output)
        .map_err(|e| Error::new(format!("cannot run {}: {e}", command.get_program().display())))
}

fn run(command: &mut Command, lock: &File) -> Result<(), Error> {
    let output = output(command, lock)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no message");
    let name = command.get_program().display();
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
        let lock = File::create(folder.path().join("lock")).expect("a file");
        ensure(&path, 8 << 30, &lock).expect("mke2fs works");
        let made = std::fs::metadata(&path).expect("it exists");
        assert_eq!(made.len(), 8 << 30);
        assert!(
            made.blocks() * 512 < 32 << 20,
            "{} bytes are allocated",
            made.blocks() * 512
        );
        ensure(&path, 1 << 30, &lock).expect("a smaller wish changes nothing");
        assert_eq!(std::fs::metadata(&path).expect("it exists").len(), 8 << 30);
        ensure(&path, (12 << 30) + 4096, &lock).expect("it grows, to the group");
        assert_eq!(std::fs::metadata(&path).expect("it exists").len(), 12 << 30);
        assert!(!path.with_extension("new").exists());
    }

    #[test]
    fn a_growth_that_was_broken_off_is_done_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("data.ext4");
        let lock = File::create(folder.path().join("lock")).expect("a file");
        ensure(&path, 4 << 30, &lock).expect("mke2fs works");
        assert_eq!(file_system_size(&path).expect("it is there"), 4 << 30);
        // Killed between the file's growth and the file system's.
        let disk = File::options().write(true).open(&path).expect("it is there");
        disk.set_len(6 << 30).expect("it is sparse");
        ensure(&path, 6 << 30, &lock).expect("resize2fs works");
        assert_eq!(file_system_size(&path).expect("it is there"), 6 << 30);
        let mut check = Command::new(program("e2fsck").expect("mke2fs came with it"));
        run(check.args(["-f", "-n"]).arg(&path), &lock).expect("it is whole");
    }

    #[test]
    fn who_changes_the_disk_holds_the_machines_lock() {
        let lock = tempfile::NamedTempFile::new().expect("a temporary file");
        let script = "for fd in /proc/$$/fd/*; do [ $fd -ef \"$0\" ] && exit; done; exit 1";
        run(
            Command::new("sh").args(["-c", script]).arg(lock.path()),
            lock.as_file(),
        )
        .expect("it has it");
        let flags = rustix::io::fcntl_getfd(lock.as_file()).expect("it is open");
        assert_eq!(flags, rustix::io::FdFlags::CLOEXEC, "nobody else has");
    }
}
