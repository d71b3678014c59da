//! The files of a region's layers: [`kiln_imagefmt::Store`] in the words of the catalogue.
//!
//! `regions/<region>/layers/<layer>.qcow2`: a file never moves and never changes its name, so that the backing names
//! inside stay true. *Sealed* is a word in the catalogue, and mode 0444 so that nobody writes by mistake.

use crate::id::LayerId;
use crate::region::Region;
use crate::size::Bytes;
use crate::{Code, Error, Result};
use kiln_imagefmt::{Access, Chain, DiskError, DiskErrorKind, GateError, Report, Store};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The layers of one region.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    store: Store,
    folder: PathBuf,
}

/// A file of the folder that is or may be a layer's.
#[derive(Clone, Debug)]
pub(crate) struct LayerFile {
    pub(crate) path: PathBuf,
    /// The layer, if the name is one.
    pub(crate) layer: Option<LayerId>,
}

/// Who last wrote to a layer that is to be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// A machine that has brought it to disk, and writes elsewhere now.
    Alive,
    /// Nobody that is left: it may have leaked clusters, which are given back.
    Gone,
}

fn disk(doing: String) -> impl FnOnce(DiskError) -> Error {
    move |error| {
        let code = match error.kind() {
            DiskErrorKind::NoSpace => Code::InsufficientVolumeCapacity,
            DiskErrorKind::InUse => Code::IncorrectState,
            _ => Code::InternalError,
        };
        Error::caused(code, doing, error)
    }
}

/// The same id as imagefmt has it.
fn plain(layer: &LayerId) -> Result<kiln_imagefmt::LayerId> {
    kiln_imagefmt::LayerId::try_from(layer.to_string())
        .map_err(|error| Error::internal(format!("name the file of {layer}"), error))
}

impl Layers {
    /// The layers of a region; the folder is made if it is not there.
    pub(crate) fn open(home: &Path, region: &Region) -> Result<Layers> {
        let folder = home.join("regions").join(region.as_str());
        crate::folder::make_private(&folder)?;
        let store = Store::open(&folder).map_err(disk(format!("open the store of {region}")))?;
        Ok(Layers {
            store,
            folder: folder.join("layers"),
        })
    }

    /// Where a layer's file is.
    pub(crate) fn path(&self, layer: &LayerId) -> PathBuf {
        self.folder.join(format!("{layer}.qcow2"))
    }

    /// Makes an empty layer that stands alone: whole and on disk when this returns.
    pub(crate) fn create_base(&self, layer: &LayerId, size: Bytes) -> Result<()> {
        kiln_imagefmt::create_base(&self.path(layer), size.0).map_err(disk(format!("create {layer}")))
    }

    /// Makes an empty layer on top of another: whole and on disk when this returns. Costs the same for any size.
    pub(crate) fn create_overlay(&self, layer: &LayerId, below: &LayerId, size: Bytes) -> Result<()> {
        self.store
            .create_overlay_as(&plain(layer)?, &plain(below)?, Some(size.0))
            .map_err(disk(format!("create {layer} on {below}")))
    }

    /// Opens a layer for a machine to write to.
    pub(crate) fn open_writable(&self, layer: &LayerId) -> Result<File> {
        let path = self.path(layer);
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(&path)
            .map_err(|error| Error::internal(format!("open {}", path.display()), error))
    }

    /// Opens the layers of a disk for a machine to write to the top one, from the bottom to the top.
    pub(crate) fn open_layers(&self, top: &LayerId) -> Result<Vec<File>> {
        kiln_imagefmt::open_chain(&self.path(top), Access::ReadWrite)
            .map_err(GateError::into_disk_error)
            .map_err(disk(format!("open {top}")))
    }

    /// Opens the disk that a layer is the top of.
    pub(crate) fn open_chain(&self, layer: &LayerId) -> Result<Chain> {
        Chain::open_path(&self.path(layer), Access::ReadOnly).map_err(disk(format!("open {layer}")))
    }

    /// Brings a layer to disk and takes the right to write away. After an error it is not known to be on disk, and
    /// doing it again does not tell.
    pub(crate) fn seal(&self, layer: &LayerId, writer: Writer) -> Result<()> {
        let plain = plain(layer)?;
        let sealed = match writer {
            Writer::Alive => self.store.seal_synced(&plain),
            Writer::Gone => self.store.seal(&plain),
        };
        sealed.map_err(disk(format!("seal {layer}")))
    }

    /// Gives a layer back to its writer: what it was sealed for has been given up.
    pub(crate) fn unseal(&self, layer: &LayerId) -> Result<()> {
        self.store
            .unseal(&plain(layer)?)
            .map_err(disk(format!("unseal {layer}")))
    }

    /// Removes a layer's file; one that is gone already is fine. Answers with the bytes of the disk that it had.
    pub(crate) fn remove(&self, layer: &LayerId) -> Result<u64> {
        let allocated = allocated(&self.path(layer));
        self.store
            .remove(&plain(layer)?)
            .map_err(disk(format!("remove {layer}")))?;
        Ok(allocated)
    }

    /// Reads a layer's tables and says what is wrong with them. One that somebody writes to is an
    /// [`Code::IncorrectState`].
    pub(crate) fn check(&self, layer: &LayerId) -> Result<Report> {
        kiln_imagefmt::check_layer(&self.path(layer)).map_err(disk(format!("check {layer}")))
    }

    /// Gives back the clusters that a layer has leaked; says what was wrong before.
    pub(crate) fn repair(&self, layer: &LayerId) -> Result<Report> {
        kiln_imagefmt::repair_leaks(&self.path(layer)).map_err(disk(format!("repair {layer}")))
    }

    /// The files there are, whatever their names.
    pub(crate) fn list(&self) -> Result<Vec<LayerFile>> {
        let listing = |error| Error::internal(format!("list {}", self.folder.display()), error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let name = entry.file_name();
            let layer = name
                .to_str()
                .and_then(kiln_imagefmt::LayerId::from_file_name)
                .and_then(|plain| LayerId::parse(plain.as_str()).ok());
            found.push(LayerFile {
                path: entry.path(),
                layer,
            });
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }
}

fn allocated(path: &Path) -> u64 {
    std::fs::symlink_metadata(path)
        .map(|data| data.blocks() * 512)
        .unwrap_or(0)
}

/// Removes a file, durably, and says how much of the disk it had.
pub(crate) fn remove(path: &Path) -> Result<u64> {
    let allocated = allocated(path);
    let folder = path.parent().unwrap_or(path);
    match std::fs::remove_file(path).and_then(|()| File::open(folder)?.sync_all()) {
        Ok(()) => Ok(allocated),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::caused(
            Code::InternalError,
            format!("remove {}", path.display()),
            error,
        )),
    }
}
