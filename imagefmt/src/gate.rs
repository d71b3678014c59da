//! Which backing names may be opened at all: only bare file names of the same folder.
//!
//! A name inside of an image is the image's author's, not ours. `/etc/shadow`, `../x`, `nbd:…`, `json:{…}` are
//! all valid to QEMU; here a name is one component of a path, opened beside the file that names it, without
//! following links, and only if it is a regular file. Nothing but headers is read.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::disk::Access;
use crate::error::DiskError;
use crate::io::{FileStorage, Host};
use crate::qcow2::Header;

/// The deepest chain that is opened. QEMU crashes at 1,200 layers; long before, every first read of a range
/// asks too many files.
pub const MAX_DEPTH: usize = 256;

/// Why a chain of names is not followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// A file is missing, or cannot be opened.
    #[error("{}: cannot open it{}: {source}", path.display(), named_by(.by.as_ref()))]
    Open {
        /// The file.
        path: PathBuf,
        /// The layer that names it as its backing file.
        by: Option<PathBuf>,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A folder, a FIFO, a device, a link.
    #[error("{}: not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// The name leads out of the folder, or is no file name.
    #[error("{}: its backing file `{name}` is refused: {reason}", path.display())]
    Name {
        /// The file that has the name in its header.
        path: PathBuf,
        /// The name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// A file is its own ancestor.
    #[error("{}: the chain of backing files is a loop", path.display())]
    Loop {
        /// The file that occurs twice.
        path: PathBuf,
    },
    /// Too many layers.
    #[error("{}: the chain is deeper than {MAX_DEPTH} layers", path.display())]
    TooDeep {
        /// The top.
        path: PathBuf,
    },
    /// A header is not in order.
    #[error(transparent)]
    Header(#[from] DiskError),
}

impl GateError {
    /// The same as an error of a disk.
    pub fn into_disk_error(self) -> DiskError {
        match self {
            Self::Header(error) => error,
            Self::Open { path, by, source } => DiskError::Io {
                path: format!("{}{}", path.display(), named_by(by.as_ref())),
                operation: "open",
                offset: 0,
                source,
            },
            other => DiskError::Chain {
                path: other.path(),
                reason: other.reason(),
            },
        }
    }

    fn path(&self) -> String {
        match self {
            Self::Open { path, .. }
            | Self::NotRegular { path }
            | Self::Name { path, .. }
            | Self::Loop { path }
            | Self::TooDeep { path } => path.display().to_string(),
            Self::Header(_) => String::new(),
        }
    }

    fn reason(&self) -> String {
        let whole = self.to_string();
        whole
            .strip_prefix(&format!("{}: ", self.path()))
            .map_or(whole.clone(), str::to_string)
    }
}

fn named_by(by: Option<&PathBuf>) -> String {
    by.map_or(String::new(), |by| {
        format!(" (the backing file of {})", by.display())
    })
}

/// The files of the chain whose top is `top`, from the bottom to the top. Reads nothing but headers.
pub fn resolve_chain(top: &Path) -> Result<Vec<PathBuf>, GateError> {
    Ok(walk(top, Access::ReadOnly)?
        .into_iter()
        .map(|(path, _)| path)
        .collect())
}

/// The same, opened: the top as `access` says, the others for reading.
pub fn open_chain(top: &Path, access: Access) -> Result<Vec<File>, GateError> {
    Ok(walk(top, access)?.into_iter().map(|(_, file)| file).collect())
}

fn walk(top: &Path, access: Access) -> Result<Vec<(PathBuf, File)>, GateError> {
    let folder = match top.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut seen = HashSet::new();
    let mut found: Vec<(PathBuf, File)> = Vec::new();
    let mut next = Some(top.to_path_buf());
    while let Some(path) = next {
        if found.len() == MAX_DEPTH {
            return Err(GateError::TooDeep {
                path: top.to_path_buf(),
            });
        }
        let access = if found.is_empty() {
            access
        } else {
            Access::ReadOnly
        };
        let by = found.last().map(|(path, _)| path);
        let file = open_regular(&path, by, access)?;
        let metadata = file.metadata().map_err(|source| GateError::Open {
            path: path.clone(),
            by: by.cloned(),
            source,
        })?;
        if !seen.insert((metadata.dev(), metadata.ino())) {
            return Err(GateError::Loop { path });
        }
        let failed = |source| GateError::Open {
            path: path.clone(),
            by: None,
            source,
        };
        let name = header_of(&path, file.try_clone().map_err(failed)?)?.backing_name;
        next = match name {
            None => None,
            Some(name) => match check_name(&name) {
                Ok(()) => Some(folder.join(name)),
                Err(reason) => return Err(GateError::Name { path, name, reason }),
            },
        };
        found.push((path, file));
    }
    found.reverse();
    Ok(found)
}

/// Opens a regular file; a link, FIFO or device is refused without touching what is behind it.
pub(crate) fn open_regular(path: &Path, by: Option<&PathBuf>, access: Access) -> Result<File, GateError> {
    let mode = if access == Access::ReadWrite {
        OFlags::RDWR
    } else {
        OFlags::RDONLY
    };
    let flags = mode | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let failed = |source: std::io::Error| match source.raw_os_error() {
        Some(libc::ELOOP | libc::ENXIO | libc::EISDIR) => GateError::NotRegular {
            path: path.to_path_buf(),
        },
        _ => GateError::Open {
            path: path.to_path_buf(),
            by: by.cloned(),
            source,
        },
    };
    let file =
        File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?);
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(GateError::NotRegular {
            path: path.to_path_buf(),
        }),
        Err(source) => Err(failed(source)),
    }
}

/// Reads the header of a file, and nothing else.
pub(crate) fn read_header(path: &Path) -> Result<Header, GateError> {
    header_of(path, open_regular(path, None, Access::ReadOnly)?)
}

/// The name of a file's backing file, if it may be followed.
pub(crate) fn backing_name(path: &Path) -> Result<Option<String>, GateError> {
    let name = read_header(path)?.backing_name;
    match name.as_deref().map_or(Ok(()), check_name) {
        Ok(()) => Ok(name),
        Err(reason) => Err(GateError::Name {
            path: path.to_path_buf(),
            name: name.unwrap_or_default(),
            reason,
        }),
    }
}

fn header_of(path: &Path, file: File) -> Result<Header, GateError> {
    let host = Host::new(Arc::new(FileStorage::new(file)), &path.display().to_string());
    Ok(Header::read(&host)?)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" | "." | ".." => Err("it is no file name"),
        _ if name.contains('/') => Err("it names a path; a layer lies beside the one on top of it"),
        _ if name.contains(':') => Err("it names a protocol"),
        _ if name.contains('\0') => Err("it holds a null byte"),
        _ => Ok(()),
    }
}
