//! New layers: complete and durable, at a cost that does not depend on the disk's size.
//!
//! ```text
//!  cluster 0        1                2               3 ...
//!  ┌──────────┬───────────────┬───────────────┬─────────────┐
//!  │ header   │ refcount table│ refcount block│ L1 table    │
//!  │ + names  │ one entry     │ 1 1 1 1 0 0 … │ (a hole)    │
//!  └──────────┴───────────────┴───────────────┴─────────────┘
//! ```
//! Three small writes; the L1 table is a hole of the file. One cluster of it reaches over 4 TiB of disk, one
//! cluster of refcount table over 16 TiB of file.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::fault::Fault;
use super::geometry::{ENTRY, Geometry};
use super::header::NAME_LIMIT;
use super::raw_header::{MAGIC, RawExtension, RawHeader, RawVersion3};
use crate::error::DiskError;
use crate::io::{FileStorage, Host};

/// 64 KiB, QEMU's default.
const BITS: u32 = 16;
/// 16 bits.
const REFCOUNT_ORDER: u32 = 4;
/// Bytes of file that one entry of the refcount table covers.
const BLOCK_COVERS: u64 = 1 << 31;
/// The largest disk: its refcount table has QEMU's limit of 8 MiB.
pub(crate) const SIZE_LIMIT: u64 = 1 << 50;

/// Makes an empty disk of `size` bytes (a multiple of 512) that stands alone. Fails if the file exists.
pub fn create_base(path: &Path, size: u64) -> Result<(), DiskError> {
    create(path, None, size)
}

/// Makes an empty overlay of `size` bytes on the qcow2 file `backing_file_name` of the same folder. Fails if
/// the file exists. When it returns, file and folder entry are durable.
pub fn create_overlay(path: &Path, backing_file_name: &str, size: u64) -> Result<(), DiskError> {
    create(path, Some(backing_file_name), size)
}

fn create(path: &Path, backing: Option<&str>, size: u64) -> Result<(), DiskError> {
    let name = path.display().to_string();
    let failed = |operation, source| DiskError::Io {
        path: name.clone(),
        operation,
        offset: 0,
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|source| failed("create", source))?;
    let host = Host::new(Arc::new(FileStorage::new(file)), &name);
    let made = format(&host, backing, size)
        .and_then(|()| sync_folder(path).map_err(|source| failed("sync the folder of the new file", source)));
    if made.is_err() {
        // What is half there must not be found by anybody; the error that counts is the first one.
        let _ = std::fs::remove_file(path);
    }
    made
}

/// Makes the folder's entry for a file durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Writes an empty image into an empty file, durably.
pub(crate) fn format(host: &Host, backing: Option<&str>, size: u64) -> Result<(), DiskError> {
    let fault = |fault| DiskError::Format {
        path: host.name().to_string(),
        fault,
    };
    if !size.is_multiple_of(512) || size == 0 || size > SIZE_LIMIT {
        return Err(fault(Fault::VirtualSize(size)));
    }
    let geometry = Geometry::new(BITS).expect("16 is between 9 and 21");
    let cluster = geometry.cluster_size();
    let l1_entries = geometry.l1_entries(size);
    let l1_clusters = geometry.clusters(l1_entries * ENTRY).max(1);
    // Room for the disk's data twice over, so that the table never moves.
    let table_clusters = geometry.clusters(size.div_ceil(BLOCK_COVERS) * 2 * ENTRY).max(1);
    let block = (1 + table_clusters) * cluster;
    let l1 = block + cluster;
    let used = 2 + table_clusters + l1_clusters;

    let header = header(backing, size, (l1, l1_entries), table_clusters).map_err(fault)?;
    let counts: Vec<u8> = (0..used).flat_map(|_| 1_u16.to_be_bytes()).collect();
    host.set_len(used * cluster)?;
    host.write_bytes(block, &counts)?;
    host.write_bytes(cluster, &block.to_be_bytes())?;
    host.write_bytes(0, &header)?;
    host.sync()
}

fn header(backing: Option<&str>, size: u64, l1: (u64, u64), table_clusters: u64) -> Result<Vec<u8>, Fault> {
    let mut extensions = Vec::new();
    if backing.is_some() {
        let head = RawExtension {
            kind: RawExtension::BACKING_FORMAT.into(),
            len: 5.into(),
        };
        extensions.extend_from_slice(head.as_bytes());
        extensions.extend_from_slice(b"qcow2\0\0\0");
    }
    extensions.extend_from_slice(
        RawExtension {
            kind: 0.into(),
            len: 0.into(),
        }
        .as_bytes(),
    );
    let fixed = size_of::<RawHeader>() + size_of::<RawVersion3>();
    let name = backing.unwrap_or_default();
    if name.len() > NAME_LIMIT {
        return Err(Fault::NameTooLong(name.len()));
    }
    let name_at = if name.is_empty() {
        0
    } else {
        fixed + extensions.len()
    };
    let narrow = |number: u64| {
        u32::try_from(number)
            .expect("the size limit bounds both tables")
            .into()
    };
    let first = RawHeader {
        magic: MAGIC,
        version: 3.into(),
        backing_file_offset: (name_at as u64).into(),
        backing_file_size: (name.len() as u32).into(),
        cluster_bits: BITS.into(),
        size: size.into(),
        crypt_method: 0.into(),
        l1_size: narrow(l1.1),
        l1_table_offset: l1.0.into(),
        refcount_table_offset: (1_u64 << BITS).into(),
        refcount_table_clusters: narrow(table_clusters),
        nb_snapshots: 0.into(),
        snapshots_offset: 0.into(),
    };
    let second = RawVersion3 {
        incompatible_features: 0.into(),
        compatible_features: 0.into(),
        autoclear_features: 0.into(),
        refcount_order: REFCOUNT_ORDER.into(),
        header_length: (fixed as u32).into(),
        compression_type: 0,
        padding: [0; 7],
    };
    Ok([first.as_bytes(), second.as_bytes(), &extensions, name.as_bytes()].concat())
}
