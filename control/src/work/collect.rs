//! Taking away the layers that nothing names.
//!
//! A layer lives as long as a volume, a snapshot, unfinished work or a layer above it names it. What nothing names is
//! marked `deleting` in the very transaction that lets go of it (nothing can begin to name it from then on), then its
//! file is removed, then its row. Cut short between any two, the next command goes on.
//!
//! A file without a row belongs to nobody: a row is always there before its file. So the files are listed *before* the
//! rows are read.

use crate::catalog::layers;
use crate::crash::crash_point;
use crate::findings::Collected;
use crate::store;
use crate::{Cloud, Result};
use std::collections::BTreeSet;

impl Cloud {
    /// Takes away the layers that nothing names, and files in the store that belong to nothing.
    pub fn collect(&self) -> Result<Collected> {
        self.catalog
            .write(|tx| layers::condemn(tx, self.region.as_str()))?;
        let mut collected = remove_condemned(self)?;
        for stray in strays(self)? {
            collected.bytes += store::remove(&stray)?;
            collected.layers.push(
                stray
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
        Ok(collected)
    }
}

/// Removes the layers that work has let go of, or that a command which was killed was about to remove.
pub(super) fn sweep(cloud: &Cloud) -> Result<()> {
    remove_condemned(cloud).map(drop)
}

fn remove_condemned(cloud: &Cloud) -> Result<Collected> {
    let condemned = cloud
        .catalog
        .read(|tx| layers::condemned(tx, cloud.region.as_str()))?;
    let mut collected = Collected::default();
    for layer in condemned {
        crash_point!("collect.after_condemning");
        collected.bytes += cloud.layers.remove(&layer)?;
        crash_point!("collect.after_removing");
        cloud.catalog.write(|tx| layers::forget(tx, &layer))?;
        collected.layers.push(layer.to_string());
    }
    Ok(collected)
}

/// The files of the layers' folder that belong to nothing.
pub(super) fn strays(cloud: &Cloud) -> Result<Vec<std::path::PathBuf>> {
    let files = cloud.layers.list()?;
    let known: BTreeSet<_> = cloud
        .catalog
        .read(|tx| layers::all(tx, cloud.region.as_str()))?
        .into_iter()
        .map(|layer| layer.id)
        .collect();
    Ok(files
        .into_iter()
        .filter(|file| file.layer.as_ref().is_none_or(|layer| !known.contains(layer)))
        .map(|file| file.path)
        .collect())
}
