//! Removing what nothing needs.

use std::collections::HashSet;

use super::{LayerId, Store, StoreLock};
use crate::error::DiskError;
use crate::gate::{self, GateError};

/// What a collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// The layers.
    pub removed: Vec<LayerId>,
    /// Bytes that they took on the host's disk.
    pub freed: u64,
}

impl Store {
    /// Removes every layer that is neither in `live` nor below one of those. The caller holds the store's lock
    /// from before it asked the catalogue for `live`, and makes layers under that lock, too; so a layer that
    /// is not yet in the catalogue cannot be taken for garbage.
    ///
    /// If the chain of a live layer cannot be read nothing is removed: its layers would be unknown.
    pub fn collect(&self, _lock: &StoreLock, live: &HashSet<LayerId>) -> Result<Collected, DiskError> {
        let mut needed = live.clone();
        for id in live.iter().filter(|id| self.exists(id)) {
            // Chains share their lower parts: what has been reached before has been followed before, or is
            // live and will be. So a loop ends, too.
            let mut next = self.below(id)?;
            while let Some(id) = next.filter(|id| needed.insert(id.clone())) {
                next = self.below(&id)?;
            }
        }
        let mut collected = Collected::default();
        for layer in self.list()? {
            if !needed.contains(&layer.id) {
                self.remove(&layer.id)?;
                collected.freed += layer.used;
                collected.removed.push(layer.id);
            }
        }
        Ok(collected)
    }

    /// The layer that a layer lies on.
    fn below(&self, id: &LayerId) -> Result<Option<LayerId>, DiskError> {
        let path = self.path(id);
        let Some(name) = gate::backing_name(&path).map_err(GateError::into_disk_error)? else {
            return Ok(None);
        };
        match LayerId::from_file_name(&name) {
            Some(below) => Ok(Some(below)),
            None => Err(DiskError::Chain {
                path: path.display().to_string(),
                reason: format!("its backing file `{name}` is no layer of this store"),
            }),
        }
    }
}
