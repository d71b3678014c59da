//! Freeze: a new, empty overlay becomes the top while the disk is in use; the old top becomes a sealed layer.
//!
//! ```text
//!   prepare        header, size, emptiness, locks        can fail; takes its time
//!   swap           ── requests drained ── one push ──    cannot fail; memory only
//!   sync_sealing   commit and sync the old top           can fail, and be tried again; the guest goes on
//! ```

use std::fs::File;
use std::sync::{Arc, PoisonError};

use super::admission::{check_memory, check_on_top_of};
use super::{Chain, named, slices_of_each};
use crate::disk::Disk;
use crate::error::DiskError;
use crate::gate::MAX_DEPTH;
use crate::io::{FileStorage, Host};
use crate::lock;
use crate::qcow2::Layer;

/// A checked, empty overlay that is ready to become the top.
#[derive(Debug)]
pub struct Prepared {
    layer: Arc<Layer>,
}

/// The former top after a [`Chain::swap`], until it is durable.
#[derive(Debug, Clone)]
#[must_use = "the old top is not durable before `Chain::sync_sealing`"]
pub struct Sealing {
    layer: Arc<Layer>,
}

impl Chain {
    /// Checks a new, empty overlay of the same size that names the present top as its backing file. It is refused while
    /// a sync of the top or of a former top has failed: no snapshot would come of it, and a layer be added for good.
    pub fn prepare(&self, overlay: File) -> Result<Prepared, DiskError> {
        self.prepare_host(named(overlay))
    }

    /// As [`Chain::prepare`], in a process that cannot look up what a descriptor is called: `path` is the
    /// overlay's absolute path, for messages and for the check of the overlay that comes after it.
    pub fn prepare_at(&self, overlay: File, path: &str) -> Result<Prepared, DiskError> {
        self.prepare_host(Host::new(Arc::new(FileStorage::new(overlay)), path))
    }

    pub(crate) fn prepare_host(&self, overlay: Host) -> Result<Prepared, DiskError> {
        self.check_writable()?;
        let top = self.layers().last().cloned();
        for layer in self.sealing().iter().chain(&top) {
            layer.host().check_synced()?;
        }
        lock::lock_writer(&overlay)?;
        let layer = Layer::open_writable(overlay)?;
        layer.check_empty()?;
        let layers = self.layers();
        let top = layers.last();
        let refuse = |reason: String| DiskError::Chain {
            path: layer.name().to_string(),
            reason,
        };
        if layers.len() >= MAX_DEPTH {
            return Err(refuse(format!(
                "the chain has {MAX_DEPTH} layers already: flatten it first"
            )));
        }
        if top.is_some_and(|top| top.size() != layer.size()) {
            return Err(refuse(format!(
                "its size is {}, the disk's is {}",
                layer.size(),
                self.size()
            )));
        }
        check_memory(&layer, &layers)?;
        check_on_top_of(&layer, top.map(AsRef::as_ref))?;
        Ok(Prepared {
            layer: Arc::new(layer),
        })
    }

    /// Makes the overlay the top. It cannot fail, does no system call and costs the same for any disk; waits
    /// for requests in flight. From now on writes go to the new top; until the old one is durable a
    /// [`Disk::flush`] covers both.
    pub fn swap(&self, prepared: Prepared) -> Sealing {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        let old = Arc::clone(layers.last().expect("a chain has at least one layer"));
        self.sealing().push(Arc::clone(&old));
        layers.push(prepared.layer);
        Sealing { layer: old }
    }

    /// Whether a former top is not durable yet.
    pub fn is_sealing(&self) -> bool {
        !self.sealing().is_empty()
    }

    /// Makes the old top durable; it is complete and will not change any more. So are, before it, those that
    /// lie below it: a snapshot is no more durable than what it lies on. After an error it may be tried again; after
    /// a failed sync that fails, too, until the disk is opened again.
    pub fn sync_sealing(&self, sealing: Sealing) -> Result<(), DiskError> {
        let waiting = self.sealing().clone();
        for layer in waiting {
            layer.commit_fully()?;
            lock::downgrade(layer.host());
            layer.set_cache_limit(slices_of_each(self.depth()));
            self.sealing().retain(|other| !Arc::ptr_eq(other, &layer));
            if Arc::ptr_eq(&layer, &sealing.layer) {
                break;
            }
        }
        Ok(())
    }
}
