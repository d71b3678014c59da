//! A disk becomes a file that stands alone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::copy::copy;
use super::{Extents, Format, Progress, TransferError};
use crate::chain::Chain;
use crate::disk::{Access, Disk, write_all_at};
use crate::io::{FileStorage, Host};
use crate::qcow2;

/// Zeroes are left out of a raw file in this size: a block of most file systems.
const RAW_GRANULE: usize = 4 << 10;
/// And of a qcow2 file in this one: its cluster.
const QCOW2_GRANULE: usize = 64 << 10;

/// Writes the disk `from` to `to`, a regular file open for reading and writing, whose content is
/// replaced. Where `extents` says that there is no data, nothing is read; where there are zeroes,
/// the file gets a hole. When it returns the file is complete and durable; after an error its
/// content is undefined. Returns how many bytes of data it holds.
pub fn export(
    from: &dyn Disk,
    extents: &dyn Extents,
    to: File,
    format: Format,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, TransferError> {
    match format {
        Format::Raw => raw(from, extents, &to, progress),
        Format::Qcow2 => qcow2(from, extents, to, progress),
    }
}

fn raw(
    from: &dyn Disk,
    extents: &dyn Extents,
    to: &File,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, TransferError> {
    let failed = |source: io::Error| TransferError::WriteFile {
        format: Format::Raw,
        source,
    };
    to.set_len(0)
        .and_then(|()| to.set_len(from.size()))
        .map_err(failed)?;
    let mut write = |at, bytes: &[u8]| to.write_all_at(bytes, at).map_err(failed);
    let written = copy(
        from,
        extents,
        RAW_GRANULE,
        &mut write,
        progress,
        &TransferError::ReadDisk,
    )?;
    to.sync_all().map_err(failed)?;
    Ok(written)
}

fn qcow2(
    from: &dyn Disk,
    extents: &dyn Extents,
    to: File,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, TransferError> {
    let failed = |source| TransferError::WriteDisk {
        format: Format::Qcow2,
        source,
    };
    let io_failed = |source: io::Error| TransferError::WriteFile {
        format: Format::Qcow2,
        source,
    };
    to.set_len(0).map_err(io_failed)?;
    let storage = FileStorage::new(to.try_clone().map_err(io_failed)?);
    let host = Host::new(std::sync::Arc::new(storage), "the exported file");
    qcow2::format(&host, None, from.size()).map_err(failed)?;
    let chain = Chain::open(vec![to], Access::ReadWrite).map_err(failed)?;
    let mut write = |at, bytes: &[u8]| write_all_at(&chain, at, bytes).map_err(failed);
    let written = copy(
        from,
        extents,
        QCOW2_GRANULE,
        &mut write,
        progress,
        &TransferError::ReadDisk,
    )?;
    chain.flush().map_err(failed)?;
    Ok(written)
}
