//! A machine that was saved, as it lies on disk: two files in a folder.
//!
//! * [`STATE`] is everything but memory: vCPUs, interrupt controllers, devices, which disks there were
//!   ([`state_file`]). It is written last, so where it is whole, the other one is.
//! * [`MEMORY`] is guest memory, a sparse file without its empty pages ([`memory_file`]).
//!
//! Neither holds data of a disk. Both are read as if a stranger had written them: what they say ends in
//! an error or in a machine that the stranger could have started himself.

pub mod memory_file;
pub mod state_file;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The state's name in a folder.
pub const STATE: &str = "machine.state";
/// The memory's name in a folder.
pub const MEMORY: &str = "machine.memory";

/// What a machine goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreSpec {
    /// The folder with both files.
    pub folder: PathBuf,
    /// Whether the machine is held until it is told to go on.
    #[serde(default)]
    pub paused: bool,
}

/// The two files, open.
#[derive(Debug)]
pub struct SavedFiles {
    /// The state.
    pub state: File,
    /// The memory.
    pub memory: File,
}

/// A file of a saved machine cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("saved machine: {path}: {source}", path = path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

impl SavedFiles {
    /// Opens both files in `folder` for reading.
    ///
    /// # Errors
    /// One of them is not there, or is no plain file.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let open = |name| {
            let path = folder.join(name);
            open_plain(&path, File::options().read(true)).map_err(|source| OpenError { path, source })
        };
        Ok(Self {
            state: open(STATE)?,
            memory: open(MEMORY)?,
        })
    }

    /// Makes both files in `folder`, empty, for a machine that is going to be saved.
    ///
    /// # Errors
    /// One of them is there already or cannot be made.
    pub fn create(folder: &Path) -> Result<Self, OpenError> {
        let make = |name| {
            let path = folder.join(name);
            let mut options = File::options();
            options.read(true).write(true).create_new(true).mode(0o600);
            open_plain(&path, &mut options).map_err(|source| OpenError { path, source })
        };
        Ok(Self {
            state: make(STATE)?,
            memory: make(MEMORY)?,
        })
    }
}

fn open_plain(path: &Path, options: &mut std::fs::OpenOptions) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}
