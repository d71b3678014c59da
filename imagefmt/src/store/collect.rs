//! Removing what nothing needs.

use std::collections::HashSet;

use super::{LayerId, Store, StoreLock};
use crate::error::DiskError;

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
            // A chain shares its lower part with others: that has been followed already.
            needed.extend(self.ancestors(id)?);
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
}
