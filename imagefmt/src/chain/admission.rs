//! Which files are admitted to a chain: each on the one that it names, none twice, none sealed to be written.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::error::DiskError;
use crate::io::file_name;
use crate::qcow2::{ENTRY, Fault, Layer};

/// Memory for the L1 tables of all layers together: as much as 256 layers of a disk of 64 TiB take, so that none of the
/// largest volume's snapshots makes a chain that cannot be opened.
const L1_MEMORY: u64 = 256 << 20;

/// The last part of a layer's name, where it is known: names that come from descriptors are absolute.
fn known_file_name(layer: &Layer) -> Option<&str> {
    layer
        .name()
        .starts_with('/')
        .then(|| layer.name().rsplit('/').next().unwrap_or_default())
}

/// Checks that `layer` belongs on top of `below` (or at the bottom).
pub(super) fn check_on_top_of(layer: &Layer, below: Option<&Layer>) -> Result<(), DiskError> {
    let refuse = |reason: String| {
        Err(DiskError::Chain {
            path: layer.name().to_string(),
            reason,
        })
    };
    let (header, below) = match (&layer.header().backing_name, below) {
        (None, None) => return Ok(()),
        (None, Some(below)) => {
            return refuse(format!(
                "it has no backing file, but is to lie on {}",
                below.name()
            ));
        }
        (Some(name), None) => return refuse(format!("its backing file `{name}` is missing from the chain")),
        (Some(_), Some(below)) => (layer.header(), below),
    };
    if let Some(format) = header
        .backing_format
        .as_deref()
        .filter(|format| *format != "qcow2")
    {
        let fault = Fault::BackingFormat(format.to_string());
        return Err(DiskError::Format {
            path: layer.name().to_string(),
            fault,
        });
    }
    let name = header.backing_name.as_deref().unwrap_or_default();
    if known_file_name(below).is_some_and(|below| below != name) {
        return refuse(format!("its backing file is `{name}`, not {}", below.name()));
    }
    if layer.size() < below.size() {
        return refuse(format!(
            "it is smaller ({}) than its backing file ({})",
            layer.size(),
            below.size()
        ));
    }
    Ok(())
}

/// Refuses `layer` if its L1 table and those of the layers `below` would take too much memory together.
pub(super) fn check_memory(layer: &Layer, below: &[Arc<Layer>]) -> Result<(), DiskError> {
    let l1 = |layer: &Layer| layer.geometry().l1_entries(layer.size()) * ENTRY;
    let memory = below.iter().fold(l1(layer), |sum, layer| sum + l1(layer));
    if memory > L1_MEMORY {
        return Err(DiskError::Format {
            path: layer.name().to_string(),
            fault: Fault::TablesTooLarge(L1_MEMORY),
        });
    }
    Ok(())
}

/// Root may write to a file whatever its mode says; a sealed layer must not change all the same.
pub(super) fn check_not_sealed(top: Option<&File>) -> Result<(), DiskError> {
    let sealed = |file: &File| file.metadata().is_ok_and(|metadata| metadata.mode() & 0o222 == 0);
    match top.filter(|file| sealed(file)) {
        None => Ok(()),
        Some(file) => {
            let path = file_name(file).unwrap_or_else(|| "layer".into());
            Err(DiskError::Chain {
                path,
                reason: "the layer is sealed: make an overlay on it".into(),
            })
        }
    }
}

/// A file that occurs twice, under whatever name, is a loop or worse.
pub(super) fn check_distinct(files: &[File]) -> Result<(), DiskError> {
    let mut seen = std::collections::HashSet::new();
    for file in files {
        let path = || file_name(file).unwrap_or_else(|| "layer".into());
        let metadata = file.metadata().map_err(|source| DiskError::Io {
            path: path(),
            operation: "look at",
            offset: 0,
            source,
        })?;
        if !metadata.is_file() {
            return Err(DiskError::Chain {
                path: path(),
                reason: "it is not a regular file".into(),
            });
        }
        if !seen.insert((metadata.dev(), metadata.ino())) {
            return Err(DiskError::Chain {
                path: path(),
                reason: "the same file occurs twice in the chain".into(),
            });
        }
    }
    Ok(())
}
