//! A disk from outside, checked.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::detect::{HEAD_LEN, TAIL_LEN};
use super::expansion::Expansion;
use super::survey::survey;
use super::{DataMap, Detected, Extents, Format, SparseFile, TransferError, detect, tar};
use crate::chain::Chain;
use crate::disk::{Access, Disk, DiskError};
use crate::io::{FileStorage, Host};
use crate::qcow2::Header;
use crate::raw::RawDisk;

/// A disk that can be imported.
pub struct Source {
    name: String,
    format: Format,
    disk: Arc<dyn Disk>,
    extents: Holes,
    file: File,
    /// The file's length, and when it was last written to, as the checks found it.
    stamp: Stamp,
}

/// A file's length, and the seconds and nanoseconds of when it was last written to. A file that is renamed or removed
/// meanwhile has the same bytes, and the same stamp.
type Stamp = (u64, i64, i64);

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// What knows where the data is.
enum Holes {
    File(SparseFile),
    Map(DataMap),
    /// And the file itself, whose holes are no data either.
    Chain(Arc<Chain>, SparseFile),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({}, {})", self.name, self.format)
    }
}

impl Source {
    /// Opens the file at `path` and checks it. It never waits, whatever the path leads to.
    pub fn open_path(path: &Path, format: Option<Format>) -> Result<Source, TransferError> {
        let name = path.display().to_string();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(|source| TransferError::Read {
                name: name.clone(),
                source,
            })?;
        Source::open(file, &name, format)
    }

    /// Checks `file`, which messages call `name`. Its format is told by its content unless
    /// `format` says it; what is neither raw nor qcow2 is refused by its name.
    pub fn open(file: File, name: &str, format: Option<Format>) -> Result<Source, TransferError> {
        let metadata = check_kind(&file, name)?;
        let len = metadata.len();
        let format = match format {
            Some(format) => format,
            None => look(&file, name, len)?.format(name)?,
        };
        let failed = |source| TransferError::Read {
            name: name.into(),
            source,
        };
        let kept = file.try_clone().map_err(failed)?;
        let (disk, extents) = match format {
            Format::Raw => Source::raw(file, name, len)?,
            Format::Qcow2 => Source::qcow2(file, name, len)?,
        };
        Ok(Source {
            name: name.into(),
            format,
            disk,
            extents,
            file: kept,
            stamp: stamp(&metadata),
        })
    }

    fn raw(file: File, name: &str, len: u64) -> Result<(Arc<dyn Disk>, Holes), TransferError> {
        if !len.is_multiple_of(512) {
            return Err(TransferError::Length {
                name: name.into(),
                len,
            });
        }
        let failed = |source| TransferError::Read {
            name: name.into(),
            source,
        };
        let extents = Holes::File(SparseFile::new(file.try_clone().map_err(failed)?, name, len));
        let source = |source| TransferError::Source {
            name: name.into(),
            source,
        };
        let disk = Arc::new(RawDisk::open(file, Access::ReadOnly).map_err(source)?);
        Ok((disk, extents))
    }

    fn qcow2(file: File, name: &str, len: u64) -> Result<(Arc<dyn Disk>, Holes), TransferError> {
        let source = |source| TransferError::Source {
            name: name.into(),
            source,
        };
        let failed = |source| TransferError::Read {
            name: name.into(),
            source,
        };
        // What the file names is looked at before anything is opened: nothing but this file ever is.
        let storage = FileStorage::new(file.try_clone().map_err(failed)?);
        let sparse = SparseFile::new(file.try_clone().map_err(failed)?, name, len);
        let host = Host::new(Arc::new(storage), name);
        let header = Header::read(&host).map_err(source)?;
        if let Some(backing) = &header.backing_name {
            let backing = backing.escape_debug().to_string();
            return Err(TransferError::Backing {
                name: name.into(),
                backing,
            });
        }
        let chain = Arc::new(Chain::open(vec![file], Access::ReadOnly).map_err(source)?);
        survey(&host, &header, &chain).map_err(source)?;
        let extents = Holes::Chain(Arc::clone(&chain), sparse);
        Ok((chain, extents))
    }

    /// Takes `map`'s word for where a raw file has data. The caller knows that the map is of the file
    /// ([`DataMap::is_of`]); a qcow2 file says itself where its data is.
    pub fn with_map(mut self, map: DataMap) -> Source {
        if self.format == Format::Raw {
            self.extents = Holes::Map(map);
        }
        self
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Size of the disk in bytes.
    pub fn size(&self) -> u64 {
        self.disk.size()
    }

    /// The disk, read only.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Where it has data.
    pub fn extents(&self) -> &dyn Extents {
        match &self.extents {
            Holes::File(file) => file,
            Holes::Map(map) => map,
            Holes::Chain(chain, _) => &**chain,
        }
    }

    /// Begins to count what is read of it against what it holds.
    pub(super) fn expansion(&self) -> Expansion<'_> {
        let file = match &self.extents {
            Holes::Chain(_, file) => Some(file),
            Holes::File(_) | Holes::Map(_) => None,
        };
        Expansion::new(&self.name, file)
    }

    /// Refuses a file that was written to, or cut, since it was opened: what was read of it meanwhile is of no one
    /// moment.
    pub(super) fn check_unchanged(&self) -> Result<(), TransferError> {
        let name = || self.name.clone();
        match self.file.metadata() {
            Ok(now) if stamp(&now) == self.stamp => Ok(()),
            Ok(_) => Err(TransferError::Changed { name: name() }),
            Err(source) => Err(TransferError::Read { name: name(), source }),
        }
    }

    /// That reading it failed.
    pub(super) fn failed(&self, source: DiskError) -> TransferError {
        TransferError::Source {
            name: self.name.clone(),
            source,
        }
    }
}

/// Refuses what begins with `head` if that is no beginning of a disk that can be imported; messages call it `name`. For
/// who unpacks a file: what is told by its end, or is raw or qcow2 and damaged, is found when it is opened.
pub fn check_beginning(head: &[u8], name: &str) -> Result<(), TransferError> {
    detect(head, &[]).format(name).map(drop)
}

impl Detected {
    /// The format of a disk; anything else is refused by its name.
    fn format(self, name: &str) -> Result<Format, TransferError> {
        match self {
            Detected::Raw => Ok(Format::Raw),
            Detected::Qcow2 => Ok(Format::Qcow2),
            Detected::Foreign { found, remedy } => Err(TransferError::Foreign {
                name: name.into(),
                found,
                remedy,
            }),
        }
    }
}

/// What the host says of a regular file; anything else is refused.
fn check_kind(file: &File, name: &str) -> Result<Metadata, TransferError> {
    let failed = |source| TransferError::Read {
        name: name.into(),
        source,
    };
    let metadata = file.metadata().map_err(failed)?;
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a FIFO (a named pipe)"),
        () if kind.is_socket() => Some("a socket"),
        () if kind.is_block_device() => Some("a block device"),
        () => Some("a device"),
    };
    match what {
        Some(what) => Err(TransferError::NotAFile {
            name: name.into(),
            what,
        }),
        None if metadata.len() == 0 => Err(TransferError::Empty { name: name.into() }),
        None => Ok(metadata),
    }
}

/// What the file is, by its first and last bytes; an archive, by what is in it.
fn look(file: &File, name: &str, len: u64) -> Result<Detected, TransferError> {
    let failed = |source| TransferError::Read {
        name: name.into(),
        source,
    };
    let read = |at: u64, most: usize| {
        let there = len.saturating_sub(at);
        let mut bytes = vec![0; usize::try_from(there).map_or(most, |there| there.min(most))];
        file.read_exact_at(&mut bytes, at).map_err(failed).map(|()| bytes)
    };
    let head = read(0, HEAD_LEN)?;
    let tail = read(len.saturating_sub(TAIL_LEN as u64), TAIL_LEN)?;
    let archive = tar::detect(&mut |at| read(at, tar::BLOCK).ok()?.try_into().ok());
    Ok(archive.unwrap_or_else(|| detect(&head, &tail)))
}
