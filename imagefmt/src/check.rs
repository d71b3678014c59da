//! Checking layers: do the tables contradict themselves, and is space lost?
//!
//! A *corruption* is a contradiction that could destroy or mix up data: a cluster referred to more often than
//! it is counted, an entry that points outside of the file. A *leak* is a cluster that is counted, but that
//! nothing refers to: lost space, nothing else. A crash leaves leaks only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Access;
use crate::error::DiskError;
use crate::gate::{GateError, open_chain, resolve_chain};
use crate::io::{FileStorage, Host};
use crate::lock;
use crate::qcow2::Layer;

/// What a check of one layer found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Contradictions, in words; at most 100 are listed, then the check ends.
    pub corruptions: Vec<String>,
    /// Clusters that nothing refers to, though they are counted.
    pub leaks: u64,
    /// Guest clusters whose data is in this file.
    pub allocated_clusters: u64,
    /// Bytes in a cluster.
    pub cluster_size: u64,
    /// Size of the disk that it shows, in bytes.
    pub size: u64,
    /// The file name of the layer below, as its header says.
    pub backing_name: Option<String>,
}

impl Report {
    /// Neither corruptions nor leaks: what `qemu-img check` calls clean.
    pub fn is_clean(&self) -> bool {
        self.corruptions.is_empty() && self.leaks == 0
    }
}

/// Checks one layer. Its backing file is not opened. A file that someone writes to is refused as in use.
pub fn check_layer(path: &Path) -> Result<Report, DiskError> {
    let host = open(path, Access::ReadOnly)?;
    lock::lock_reader(&host)?;
    inspect(path, &Layer::open(host)?)
}

/// Checks each layer of the chain whose top is `top`, from the bottom to the top, and that they fit together.
pub fn check_chain(top: &Path) -> Result<Vec<Report>, DiskError> {
    let paths = resolve_chain(top).map_err(GateError::into_disk_error)?;
    let files = open_chain(top, Access::ReadOnly).map_err(GateError::into_disk_error)?;
    drop(crate::chain::Chain::open(files, Access::ReadOnly)?);
    paths.iter().map(|path| check_layer(path)).collect()
}

/// Repairs the leaks of a layer; what it found before. Corruptions are reported and left alone.
pub fn repair_leaks(path: &Path) -> Result<Report, DiskError> {
    let report = check_layer(path)?;
    if report.corruptions.is_empty() && report.leaks > 0 {
        let host = open(path, Access::ReadWrite)?;
        lock::lock_writer(&host)?;
        // Opening a layer for writing repairs it.
        Layer::open_writable(host)?.commit()?;
    }
    Ok(report)
}

fn inspect(path: &Path, layer: &Layer) -> Result<Report, DiskError> {
    let mut found = layer.inspect()?;
    if found.is_cut {
        found
            .corruptions
            .push("the file ends within a cluster that is in use".into());
    }
    Ok(Report {
        path: path.to_path_buf(),
        corruptions: found.corruptions,
        leaks: found.leaked,
        allocated_clusters: found.allocated,
        cluster_size: layer.geometry().cluster_size(),
        size: layer.size(),
        backing_name: layer.header().backing_name.clone(),
    })
}

fn open(path: &Path, access: Access) -> Result<Host, DiskError> {
    let file = crate::gate::open_regular(path, None, access).map_err(GateError::into_disk_error)?;
    Ok(Host::new(
        Arc::new(FileStorage::new(file)),
        &path.display().to_string(),
    ))
}
