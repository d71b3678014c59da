//! The folder of layers of a region: made, sealed, listed, removed, collected.
//!
//! ```text
//!  <region>/lock                 held while layers are removed
//!  <region>/layers/layer-….qcow2 mode 0644: a volume, being written · mode 0444: sealed
//! ```
//! A file never moves and never changes its name, so that backing names stay true and a path that was handed
//! out stays valid. Which layers are needed is the catalogue's knowledge: [`Store::collect`] is told.
//!
//! ## Crash order
//! A layer's file is complete and durable, and so is its name in the folder, before [`Store::create_overlay`]
//! returns; only then may the catalogue name it. The catalogue forgets a layer before [`Store::remove`]
//! deletes it. So a crash in between leaves a file that nothing names, never a name without its file.

mod collect;
mod id;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use collect::Collected;
pub use id::{BadLayerId, LayerId};

use crate::check;
use crate::disk::Access;
use crate::error::DiskError;
use crate::gate::{self, GateError};
use crate::qcow2::{Fault, create_base, create_overlay, sync_folder};

/// Sealed layers are read-only for everybody.
const SEALED: u32 = 0o444;

/// Others are their owner's to write.
const WRITABLE: u32 = 0o644;

/// The layers of one region.
#[derive(Debug, Clone)]
pub struct Store {
    region: PathBuf,
}

/// What the folder tells of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// Its id.
    pub id: LayerId,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Bytes that it takes on the host's disk.
    pub used: u64,
    /// Length of the file.
    pub len: u64,
}

/// The store's lock; ends when dropped, or with the process.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl Store {
    /// Opens the store of a region, and makes its folders if they are missing.
    pub fn open(region: &Path) -> Result<Self, DiskError> {
        let store = Self {
            region: region.to_path_buf(),
        };
        let layers = store.layers();
        // Each folder's name is durable before anything is put into it: a layer is no more durable than its way.
        let missing: Vec<&Path> = layers.ancestors().take_while(|folder| !folder.is_dir()).collect();
        for folder in missing
            .into_iter()
            .rev()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            let made = match std::fs::DirBuilder::new().mode(0o755).create(folder) {
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
                made => made,
            };
            made.and_then(|()| sync_folder(folder))
                .map_err(|source| failed(folder, "create", source))?;
        }
        Ok(store)
    }

    fn layers(&self) -> PathBuf {
        self.region.join("layers")
    }

    /// Where a layer's file is, or would be.
    pub fn path(&self, id: &LayerId) -> PathBuf {
        self.layers().join(id.file_name())
    }

    /// Whether the layer's file is there.
    pub fn exists(&self, id: &LayerId) -> bool {
        self.path(id).is_file()
    }

    /// Makes an empty disk that stands alone.
    pub fn create_base(&self, size: u64) -> Result<LayerId, DiskError> {
        let id = LayerId::random();
        create_base(&self.path(&id), size)?;
        Ok(id)
    }

    /// Makes an empty overlay of `size` bytes on a layer; `None`: as large as that layer.
    pub fn create_overlay(&self, on: &LayerId, size: Option<u64>) -> Result<LayerId, DiskError> {
        let id = LayerId::random();
        self.create_overlay_as(&id, on, size)?;
        Ok(id)
    }

    /// The same under an id that the caller has written down before (a crash leaves nothing unknown).
    pub fn create_overlay_as(&self, id: &LayerId, on: &LayerId, size: Option<u64>) -> Result<(), DiskError> {
        let below = self.size(on)?;
        let size = size.unwrap_or(below);
        if size < below {
            let reason =
                format!("{size} bytes are less than the layer below has ({below}): data would be lost");
            return Err(DiskError::Chain {
                path: self.path(id).display().to_string(),
                reason,
            });
        }
        create_overlay(&self.path(id), &on.file_name(), size)
    }

    /// Size of the disk that a layer shows.
    pub fn size(&self, id: &LayerId) -> Result<u64, DiskError> {
        gate::read_header(&self.path(id))
            .map(|header| header.size)
            .map_err(GateError::into_disk_error)
    }

    /// The files of the chain below and including a layer, from the bottom to the top.
    pub fn chain(&self, id: &LayerId) -> Result<Vec<PathBuf>, DiskError> {
        gate::resolve_chain(&self.path(id)).map_err(GateError::into_disk_error)
    }

    /// The layers that lie below this one, nearest first.
    pub fn ancestors(&self, id: &LayerId) -> Result<Vec<LayerId>, DiskError> {
        let mut chain = self.chain(id)?;
        chain.pop();
        Ok(chain
            .iter()
            .rev()
            .filter_map(|path| LayerId::from_file_name(path.file_name()?.to_str()?))
            .collect())
    }

    /// Seals a layer that nobody writes any more: leaks of a crash are repaired, the file is durable, and its
    /// mode says so. One that contradicts itself is not sealed.
    ///
    /// An error means that the file may not be on disk, and that trying again proves nothing: the kernel reports
    /// what it could not write once, to whoever syncs first.
    pub fn seal(&self, id: &LayerId) -> Result<(), DiskError> {
        let path = self.path(id);
        if !self.is_sealed(id)? {
            let found = check::repair_leaks(&path)?;
            if let Some(first) = found.corruptions.first().cloned() {
                let count = found.corruptions.len() as u64;
                let path = path.display().to_string();
                let fault = Fault::Corruptions { count, first };
                return Err(DiskError::Format { path, fault });
            }
        }
        set_sealed(&path, File::sync_all)
    }

    /// Seals a layer whose chain is open in a running disk, after that has made it durable
    /// ([`Chain::sync_sealing`](crate::Chain::sync_sealing)): nothing is repaired.
    pub fn seal_synced(&self, id: &LayerId) -> Result<(), DiskError> {
        set_sealed(&self.path(id), File::sync_all)
    }

    /// Gives a layer back to its writer, because what it was sealed for has been given up.
    pub fn unseal(&self, id: &LayerId) -> Result<(), DiskError> {
        if !self.is_sealed(id)? {
            return Ok(());
        }
        let path = self.path(id);
        let file = gate::open_regular(&path, None, Access::ReadOnly).map_err(GateError::into_disk_error)?;
        file.set_permissions(std::fs::Permissions::from_mode(WRITABLE))
            .and_then(|()| file.sync_all())
            .map_err(|source| failed(&path, "unseal", source))
    }

    /// Whether a layer is sealed.
    pub fn is_sealed(&self, id: &LayerId) -> Result<bool, DiskError> {
        let path = self.path(id);
        let metadata = std::fs::symlink_metadata(&path).map_err(|source| failed(&path, "look at", source))?;
        Ok(metadata.mode() & 0o222 == 0)
    }

    /// Removes a layer's file, durably. That it is gone already is no error.
    pub fn remove(&self, id: &LayerId) -> Result<(), DiskError> {
        let path = self.path(id);
        match std::fs::remove_file(&path) {
            Ok(()) => sync_folder(&path).map_err(|source| failed(&path, "sync the folder", source)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(failed(&path, "remove", source)),
        }
    }

    /// All layers, by id. Files with other names are none of ours.
    pub fn list(&self) -> Result<Vec<LayerInfo>, DiskError> {
        let folder = self.layers();
        let unreadable = |source| failed(&folder, "list", source);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Some(id) = entry.file_name().to_str().and_then(LayerId::from_file_name) else {
                continue;
            };
            // A file may be removed while the folder is read.
            let Ok(metadata) = entry.metadata() else { continue };
            let sealed = metadata.mode() & 0o222 == 0;
            found.push(LayerInfo {
                id,
                sealed,
                used: metadata.blocks() * 512,
                len: metadata.len(),
            });
        }
        found.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(found)
    }

    /// Takes the store's lock; waits for it.
    pub fn lock(&self) -> Result<StoreLock, DiskError> {
        let path = self.region.join("lock");
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path);
        let file = options.map_err(|source| failed(&path, "open", source))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|errno| failed(&path, "lock", errno.into()))?;
        Ok(StoreLock { _file: file })
    }
}

/// What the file holds is on disk before its mode says so, and the mode is when this returns.
fn set_sealed(path: &Path, sync: impl Fn(&File) -> io::Result<()>) -> Result<(), DiskError> {
    let file = gate::open_regular(path, None, Access::ReadOnly).map_err(GateError::into_disk_error)?;
    sync(&file)
        .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(SEALED)))
        .and_then(|()| sync(&file))
        .map_err(|source| failed(path, "seal", source))
}

fn failed(path: &Path, operation: &'static str, source: io::Error) -> DiskError {
    DiskError::Io {
        path: path.display().to_string(),
        operation,
        offset: 0,
        source,
    }
}

#[cfg(test)]
mod tests;
