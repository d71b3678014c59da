//! A disk of a machine's spec, and how it is opened.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_imagefmt::{Access, Chain, Disk, DiskError, RawDisk};
use serde::{Deserialize, Serialize};

use super::Serial;

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSpec {
    /// The volume's id, `vol-` and 17 digits, or any word: what requests name the disk by.
    pub id: String,
    /// The file; of a qcow2 chain the top one.
    pub path: PathBuf,
    /// The file's format. It is never guessed: a guest can write any bytes to the start of a raw disk.
    pub format: DiskFormat,
    /// The guest may only read.
    #[serde(default)]
    pub read_only: bool,
    /// How many request queues it has, at most [`super::MAX_QUEUES`]; by default one for each vCPU, and 8 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// What the guest sees as serial; by default the id without its dash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The PCI slot, 1 to 30; by default the first that no other device has. A machine that goes on from a saved one has
    /// its disks where that one had them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u8>,
}

/// Format of an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFormat {
    /// The disk's bytes.
    Raw,
    /// QEMU's format, version 3, with its chain of backing files.
    Qcow2,
}

/// A disk could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened.
    #[error("disk {id}: cannot open {path}: {source}", path = path.display())]
    File {
        /// Id of the disk.
        id: String,
        /// The file.
        path: PathBuf,
        /// What the host answered.
        source: std::io::Error,
    },
    /// A raw disk is one file.
    #[error("disk {id}: a raw disk is one file, not {files}")]
    Files {
        /// Id of the disk.
        id: String,
        /// How many came.
        files: usize,
    },
    /// The file is no such disk.
    #[error("disk {id}: {source}")]
    Disk {
        /// Id of the disk.
        id: String,
        /// What is wrong.
        source: DiskError,
    },
}

/// An open disk; a chain can also exchange its top.
#[derive(Clone)]
pub enum Backing {
    /// A raw file.
    Raw(Arc<RawDisk>),
    /// A chain of layers.
    Chain(Arc<Chain>),
}

impl Backing {
    /// The disk.
    pub fn disk(&self) -> Arc<dyn Disk> {
        match self {
            Self::Raw(disk) => Arc::clone(disk) as _,
            Self::Chain(chain) => Arc::clone(chain) as _,
        }
    }

    /// The chain, if it is one.
    pub fn chain(&self) -> Option<&Arc<Chain>> {
        match self {
            Self::Raw(_) => None,
            Self::Chain(chain) => Some(chain),
        }
    }
}

/// Queues of a device where nothing else is said: more than this many vCPUs share them.
const DEFAULT_QUEUES: u16 = 8;

impl BlockSpec {
    /// How many queues the device has in a machine of `cpus` vCPUs.
    pub fn queues(&self, cpus: u8) -> u16 {
        let each = u16::from(cpus).min(DEFAULT_QUEUES);
        self.queues.unwrap_or(each).clamp(1, super::MAX_QUEUES)
    }

    /// What the guest sees as serial.
    pub fn serial(&self) -> Serial {
        Serial::of_volume(self.serial.as_deref().unwrap_or(&self.id))
    }

    /// Opens the disk; a relative path is taken from `directory`.
    ///
    /// # Errors
    /// The file, or one that it is based on, cannot be opened or is not what it must be.
    pub fn open(&self, directory: &Path) -> Result<Backing, OpenError> {
        let path = directory.join(&self.path);
        match self.format {
            DiskFormat::Qcow2 => self.chain(Chain::open_path(&path, self.access())),
            DiskFormat::Raw => self.raw(self.open_file(&path)?),
        }
    }

    /// Makes the disk of files that are open already: one, or the layers of a chain from the bottom to the top. `paths`
    /// are their names, as far as they are known.
    ///
    /// # Errors
    /// A file is not what it must be, or another process uses it.
    pub fn open_files(&self, files: Vec<File>, paths: &[String]) -> Result<Backing, OpenError> {
        match self.format {
            DiskFormat::Qcow2 => self.chain(Chain::open_at(files, paths, self.access())),
            DiskFormat::Raw => {
                let files: Result<[File; 1], _> = files.try_into();
                let [file] = files.map_err(|files| OpenError::Files {
                    id: self.id.clone(),
                    files: files.len(),
                })?;
                self.raw(file)
            }
        }
    }

    fn chain(&self, opened: Result<Chain, DiskError>) -> Result<Backing, OpenError> {
        let chain = opened.map_err(|source| self.is_none(source))?;
        Ok(Backing::Chain(Arc::new(chain)))
    }

    fn raw(&self, file: File) -> Result<Backing, OpenError> {
        let disk = RawDisk::open(file, self.access()).map_err(|source| self.is_none(source))?;
        Ok(Backing::Raw(Arc::new(disk)))
    }

    /// The file is no such disk.
    fn is_none(&self, source: DiskError) -> OpenError {
        OpenError::Disk {
            id: self.id.clone(),
            source,
        }
    }

    fn access(&self) -> Access {
        if self.read_only {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        }
    }

    fn open_file(&self, path: &Path) -> Result<File, OpenError> {
        OpenOptions::new()
            .read(true)
            .write(!self.read_only)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open(path)
            .map_err(|source| OpenError::File {
                id: self.id.clone(),
                path: path.to_owned(),
                source,
            })
    }
}
