//! New layers: complete and durable, at a cost that does not depend on the disk's size.

use std::io;
use std::path::Path;

use crate::error::DiskError;

/// Makes an empty disk of `size` bytes (a multiple of 512) that stands alone. Fails if the file exists.
pub fn create_base(path: &Path, size: u64) -> Result<(), DiskError> {
    create(path, None, size)
}

/// Makes an empty overlay of `size` bytes on the qcow2 file `backing_file_name` of the same folder. Fails if
/// the file exists. When it returns, file and folder entry are durable.
pub fn create_overlay(path: &Path, backing_file_name: &str, size: u64) -> Result<(), DiskError> {
    create(path, Some(backing_file_name), size)
}

fn create(path: &Path, _backing: Option<&str>, _size: u64) -> Result<(), DiskError> {
    let source = io::ErrorKind::Unsupported.into();
    Err(DiskError::Io { path: path.display().to_string(), operation: "create", offset: 0, source })
}
