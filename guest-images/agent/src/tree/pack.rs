//! A file or folder of this host as a tar stream.

use super::Moved;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Permissions that travel: not those that lend a file's owner, who is root there.
const PERMISSIONS: u32 = 0o777;
/// Those of a folder: in one that is everybody's, as /tmp is, only owners delete.
const OF_FOLDER: u32 = 0o1777;

/// Why something was not packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the host answered.
        source: io::Error,
    },
    /// It became shorter under the copy.
    #[error("{path} became shorter while it was copied", path = _0.display())]
    Shrank(PathBuf),
    /// The stream takes nothing any more: whoever reads it has ended.
    #[error("the other end is gone: {0}")]
    Write(#[source] io::Error),
}

/// Bytes of all files in `root`, a file or folder: what a copy of it will move, if nothing changes.
///
/// # Errors
/// Something in it cannot be looked at.
pub fn measure(root: &Path) -> Result<u64, PackError> {
    let mut bytes = 0_u64;
    walk(root, |_, _, is| {
        if is.is_file() {
            bytes = bytes.saturating_add(is.len());
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// Writes `root`, a file or folder (or a link to one), to `out` under the name `name`, or without a name what is in it:
/// folders before their content, symbolic links as such, all as root's. `told` hears how many bytes of files have gone.
///
/// # Errors
/// Something cannot be read, or `out` takes nothing any more.
pub fn pack(
    root: &Path,
    name: Option<&OsStr>,
    out: impl Write,
    mut told: impl FnMut(u64),
) -> Result<Moved, PackError> {
    let mut tar = Builder::new(out);
    let mut moved = Moved::default();
    walk(root, |path, below, is| {
        let name = match (name, below.as_os_str().is_empty()) {
            // A folder that is there keeps its permissions.
            (None, true) if is.is_dir() => return Ok(()),
            (name, true) => PathBuf::from(name.unwrap_or(OsStr::new("."))),
            (name, false) => Path::new(name.unwrap_or(OsStr::new("."))).join(below),
        };
        let mut header = header_of(is);
        let unwritten = PackError::Write;
        if is.is_dir() {
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, &name, io::empty())
                .map_err(unwritten)?;
        } else if is.is_symlink() {
            let target = std::fs::read_link(path).map_err(|source| unread(path, source))?;
            header.set_entry_type(EntryType::Symlink);
            tar.append_link(&mut header, &name, target).map_err(unwritten)?;
        } else if is.is_file() {
            append(&mut tar, header, &name, path, |bytes| {
                moved.bytes = moved.bytes.saturating_add(bytes);
                told(moved.bytes);
            })?;
        } else {
            moved.leave_out(path.to_owned());
            return Ok(());
        }
        moved.entries = moved.entries.saturating_add(1);
        Ok(())
    })?;
    tar.into_inner()
        .and_then(|mut out| out.flush())
        .map_err(PackError::Write)?;
    Ok(moved)
}

fn unread(path: &Path, source: io::Error) -> PackError {
    PackError::Read {
        path: path.to_owned(),
        source,
    }
}

fn header_of(is: &Metadata) -> Header {
    let mut header = Header::new_gnu();
    let mask = if is.is_dir() { OF_FOLDER } else { PERMISSIONS };
    header.set_mode(is.mode() & mask);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(is.mtime()).unwrap_or(0));
    header.set_size(0);
    header
}

/// A file's bytes: as many as it had when it was opened.
fn append<W: Write>(
    tar: &mut Builder<W>,
    mut header: Header,
    name: &Path,
    path: &Path,
    moved: impl FnMut(u64),
) -> Result<(), PackError> {
    // It may have become something else since it was looked at: that is not waited for, nor followed.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| unread(path, error.into()))?;
    let file = File::from(file);
    let len = file.metadata().map_err(|source| unread(path, source))?.len();
    header.set_size(len);
    let mut reader = Whole {
        file: file.take(len),
        failed: None,
        moved,
    };
    let appended = tar.append_data(&mut header, name, &mut reader);
    match reader.failed {
        Some(source) => Err(unread(path, source)),
        None => {
            let is_short = reader.file.limit() > 0;
            appended.map_err(PackError::Write)?;
            if is_short {
                return Err(PackError::Shrank(path.to_owned()));
            }
            Ok(())
        }
    }
}

/// Reads a file, counts, and keeps the error that reading had apart from those of writing.
struct Whole<F> {
    file: io::Take<File>,
    failed: Option<io::Error>,
    moved: F,
}

impl<F: FnMut(u64)> Read for Whole<F> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        match self.file.read(piece) {
            Ok(bytes) => {
                (self.moved)(bytes as u64);
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                Err(told)
            }
        }
    }
}

/// Goes through `root` and all below it, a folder before what is in it, by name: with the path, the path below `root`, and
/// what it is. `root` itself may be a link, and is what that leads to.
fn walk(
    root: &Path,
    mut visit: impl FnMut(&Path, &Path, &Metadata) -> Result<(), PackError>,
) -> Result<(), PackError> {
    let root = std::fs::canonicalize(root).map_err(|source| unread(root, source))?;
    let mut rest = vec![PathBuf::new()];
    while let Some(below) = rest.pop() {
        let path = if below.as_os_str().is_empty() {
            root.clone()
        } else {
            root.join(&below)
        };
        let is = std::fs::symlink_metadata(&path).map_err(|source| unread(&path, source))?;
        visit(&path, &below, &is)?;
        if is.is_dir() {
            let read = std::fs::read_dir(&path).and_then(|all| {
                all.map(|entry| Ok(entry?.file_name()))
                    .collect::<io::Result<Vec<_>>>()
            });
            let mut names = read.map_err(|source| unread(&path, source))?;
            names.sort_unstable_by(|a, b| b.cmp(a));
            rest.extend(names.into_iter().map(|name| below.join(name)));
        }
    }
    Ok(())
}
