//! A guest's tar stream as a new file or folder of this host.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::Moved;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};
use tar::{Archive, Entry, EntryType, PaxExtensions};

/// The longest name, in bytes: as long as a path can be (PATH_MAX of Linux).
const LONGEST_NAME: u64 = 4096;
/// The most that records before an entry say of it.
const LONGEST_RECORD: u64 = 64 * 1024;
/// The most folders: their permissions are set at the end, and remembered until then.
const MOST_FOLDERS: usize = 1 << 20;
/// Bytes between two reports of how far it is.
const PIECE: usize = 128 * 1024;

/// Why a stream was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream ended early, is not to be understood, or says what it may not.
    #[error("the guest sent {0}")]
    Stream(String),
    /// The stream cannot be read.
    #[error("cannot read what the guest sends: {0}")]
    Read(#[source] io::Error),
    /// This host does not take it.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// What the host answered.
        source: io::Error,
    },
}

/// Makes at `at`, where nothing is yet, what the stream holds: the folder of which it has everything as `.` and `./…`, or
/// the one file, whatever its name there. `told` hears how many bytes of files have come.
///
/// Whatever the stream says, nothing is made, changed or followed but below `at`. What was made by the time of an error
/// is left to the caller.
///
/// # Errors
/// See [`UnpackError`]; a stream that holds nothing is one, too.
pub fn unpack(stream: impl Read, at: &Path, told: impl FnMut(u64)) -> Result<Moved, UnpackError> {
    let mut archive = Archive::new(stream);
    let entries = archive.entries().map_err(UnpackError::Read)?.raw(true);
    let mut unpacking = Unpacking {
        at,
        is_folder: None,
        folders: Vec::new(),
        moved: Moved::default(),
        told,
    };
    let mut records = Records::default();
    for entry in entries {
        let mut entry = entry.map_err(of_stream)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => records.name = Some(name_in(&mut entry)?),
            EntryType::GNULongLink => records.link = Some(name_in(&mut entry)?),
            EntryType::XHeader => records.read(&mut entry)?,
            EntryType::XGlobalHeader => {}
            _ => unpacking.entry(&mut entry, std::mem::take(&mut records))?,
        }
    }
    unpacking.finish()
}

/// An error of the tar stream's reader: of the stream, unless the host's.
fn of_stream(error: io::Error) -> UnpackError {
    match error.kind() {
        io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            UnpackError::Stream(format!("no tar stream: {error}"))
        }
        io::ErrorKind::UnexpectedEof => UnpackError::Stream("too little: its stream broke off".to_owned()),
        _ => UnpackError::Read(error),
    }
}

/// What records say of the entry behind them.
#[derive(Debug, Default)]
struct Records {
    name: Option<PathBuf>,
    link: Option<PathBuf>,
}

impl Records {
    /// Those of POSIX.1-2001.
    fn read<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), UnpackError> {
        let content = bounded(entry, LONGEST_RECORD)?;
        for record in PaxExtensions::new(&content) {
            let record = record.map_err(of_stream)?;
            let path = || PathBuf::from(OsStr::from_bytes(record.value_bytes()));
            match record.key_bytes() {
                b"path" => self.name = Some(path()),
                b"linkpath" => self.link = Some(path()),
                b"size" => {
                    let why = "a file's size in a record, which is not understood";
                    return Err(UnpackError::Stream(why.to_owned()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// GNU's record of a long name: with a zero behind it.
fn name_in<R: Read>(entry: &mut Entry<'_, R>) -> Result<PathBuf, UnpackError> {
    let content = bounded(entry, LONGEST_NAME)?;
    let name = content.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(PathBuf::from(OsStr::from_bytes(name)))
}

fn bounded<R: Read>(entry: &mut Entry<'_, R>, most: u64) -> Result<Vec<u8>, UnpackError> {
    if entry.size() > most {
        let message = format!("a record of {} bytes: {most} are the most", entry.size());
        return Err(UnpackError::Stream(message));
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content).map_err(of_stream)?;
    Ok(content)
}

/// A folder whose permissions and time are still to be set.
struct Folder {
    path: PathBuf,
    mode: u32,
    modified: SystemTime,
}

struct Unpacking<'a, F> {
    at: &'a Path,
    /// Whether the stream is of a folder, or of one file; nobody knows before the first entry.
    is_folder: Option<bool>,
    folders: Vec<Folder>,
    moved: Moved,
    told: F,
}

impl<F: FnMut(u64)> Unpacking<'_, F> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, records: Records) -> Result<(), UnpackError> {
        let name = match records.name {
            Some(name) => name,
            None => entry.path().map_err(of_stream)?.into_owned(),
        };
        let below = below(&name)?;
        let kind = entry.header().entry_type();
        let place = self.place(&below, kind)?;
        let mode = entry.header().mode().map_err(of_stream)?;
        let seconds = entry.header().mtime().map_err(of_stream)?;
        let modified = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .unwrap_or(SystemTime::UNIX_EPOCH);
        match kind {
            EntryType::Directory => self.folder(place, mode, modified)?,
            EntryType::Regular | EntryType::Continuous => self.file(&place, entry, mode, modified)?,
            EntryType::Symlink => {
                let target = target(entry, records.link)?;
                std::os::unix::fs::symlink(target, &place).map_err(|source| unwritten(&place, source))?;
            }
            EntryType::Link => self.link(&target(entry, records.link)?, &place)?,
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                self.moved.leave_out(name);
                return Ok(());
            }
            _ => {
                let message = format!("{}, an entry of an unknown kind", name.display());
                return Err(UnpackError::Stream(message));
            }
        }
        self.moved.entries = self.moved.entries.saturating_add(1);
        Ok(())
    }

    /// Where the entry of this name goes, and that it may: below folders that were made here.
    fn place(&mut self, below: &Path, kind: EntryType) -> Result<PathBuf, UnpackError> {
        let is_root = below.as_os_str().is_empty();
        match self.is_folder {
            None if is_root && kind == EntryType::Directory => self.is_folder = Some(true),
            None if !is_root && below.components().nth(1).is_none() && kind != EntryType::Directory => {
                self.is_folder = Some(false);
                return Ok(self.at.to_owned());
            }
            Some(true) if !is_root => {}
            _ => {
                let message = format!("{}, which was not asked for", shown(below));
                return Err(UnpackError::Stream(message));
            }
        }
        if is_root {
            return Ok(self.at.to_owned());
        }
        let mut folder = self.at.to_owned();
        for part in below.parent().into_iter().flat_map(Path::components) {
            folder.push(part);
            if !std::fs::symlink_metadata(&folder).is_ok_and(|is| is.is_dir()) {
                let message = format!("{}, which is in no folder that it sent", below.display());
                return Err(UnpackError::Stream(message));
            }
        }
        Ok(self.at.join(below))
    }

    fn folder(&mut self, path: PathBuf, mode: u32, modified: SystemTime) -> Result<(), UnpackError> {
        if self.folders.len() >= MOST_FOLDERS {
            return Err(UnpackError::Stream(format!("more than {MOST_FOLDERS} folders")));
        }
        // Closed to others until its permissions are known, and open to who fills it.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|source| unwritten(&path, source))?;
        self.folders.push(Folder { path, mode, modified });
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        path: &Path,
        entry: &mut Entry<'_, R>,
        mode: u32,
        modified: SystemTime,
    ) -> Result<(), UnpackError> {
        let failed = |source| unwritten(path, source);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let mut left = entry.size();
        let mut piece = vec![0; PIECE];
        while left > 0 {
            let bytes = match entry.read(&mut piece) {
                Ok(0) => return Err(of_stream(io::ErrorKind::UnexpectedEof.into())),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(of_stream(error)),
            };
            io::Write::write_all(&mut file, piece.get(..bytes).unwrap_or_default()).map_err(failed)?;
            left = left.saturating_sub(bytes as u64);
            self.moved.bytes = self.moved.bytes.saturating_add(bytes as u64);
            (self.told)(self.moved.bytes);
        }
        set_modified(&file, modified);
        file.set_permissions(Permissions::from_mode(mode & 0o777))
            .map_err(failed)
    }

    /// Another name of a file that has come.
    fn link(&self, target: &Path, place: &Path) -> Result<(), UnpackError> {
        let target = below(target)?;
        let mut path = self.at.to_owned();
        let mut parts = target.components().peekable();
        while let Some(part) = parts.next() {
            path.push(part);
            let is = std::fs::symlink_metadata(&path).map(|is| is.file_type());
            let fits = match parts.peek() {
                Some(_) => is.is_ok_and(|is| is.is_dir()),
                None => is.is_ok_and(|is| is.is_file() || is.is_symlink()),
            };
            if !fits {
                let message = format!("a link to {}, which it did not send before", target.display());
                return Err(UnpackError::Stream(message));
            }
        }
        std::fs::hard_link(&path, place).map_err(|source| unwritten(place, source))
    }

    /// The innermost first: in one that may not be changed any more nothing else can be set.
    fn finish(self) -> Result<Moved, UnpackError> {
        if self.is_folder.is_none() || self.moved.entries == 0 {
            let what = "nothing that is a file, a folder or a symbolic link";
            return Err(UnpackError::Stream(what.to_owned()));
        }
        for folder in self.folders.iter().rev() {
            if let Ok(file) = File::open(&folder.path) {
                set_modified(&file, folder.modified);
            }
            std::fs::set_permissions(&folder.path, Permissions::from_mode(folder.mode & 0o1777))
                .map_err(|source| unwritten(&folder.path, source))?;
        }
        Ok(self.moved)
    }
}

/// Where a link leads, by its record or by its header.
fn target<R: Read>(entry: &Entry<'_, R>, record: Option<PathBuf>) -> Result<PathBuf, UnpackError> {
    if let Some(target) = record {
        return Ok(target);
    }
    let target = entry.link_name().map_err(of_stream)?;
    Ok(target.map(Cow::into_owned).unwrap_or_default())
}

/// A file system that keeps no such time keeps another.
fn set_modified(file: &File, modified: SystemTime) {
    let _ = file.set_modified(modified);
}

fn unwritten(path: &Path, source: io::Error) -> UnpackError {
    UnpackError::Write {
        path: path.to_owned(),
        source,
    }
}

fn shown(below: &Path) -> String {
    if below.as_os_str().is_empty() {
        ".".to_owned()
    } else {
        below.display().to_string()
    }
}

/// A name in a stream, as a path below its root: empty for the root itself.
fn below(name: &Path) -> Result<PathBuf, UnpackError> {
    let outside = || UnpackError::Stream(format!("{}, which was not asked for", name.display()));
    if name.as_os_str().len() as u64 > LONGEST_NAME || name.as_os_str().as_bytes().contains(&0) {
        return Err(UnpackError::Stream("a name that no file can have".to_owned()));
    }
    let mut below = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => below.push(part),
            Component::CurDir => {}
            _ => return Err(outside()),
        }
    }
    Ok(below)
}
