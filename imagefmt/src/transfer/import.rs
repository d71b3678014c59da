//! A disk from outside becomes a layer.

use std::path::Path;
use std::sync::Arc;

use super::copy::copy;
use super::{Progress, Source, TransferError};
use crate::chain::Chain;
use crate::disk::{Access, Disk, write_all_at};
use crate::qcow2::create_base;

/// A cluster of the new layer: zeroes are left out in this size.
const GRANULE: usize = 64 << 10;

/// What was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Size of the disk in bytes.
    pub size: u64,
    /// How many of them were written; the others are zero and take no space.
    pub data: u64,
}

/// Makes the file `layer`, which must not exist, a qcow2 layer with the disk in `source`. When it
/// returns the layer is complete and durable; after an error there is none. It is an error if the source changes
/// meanwhile.
pub fn import(
    source: &Source,
    layer: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, TransferError> {
    let size = source.size();
    create_base(layer, size).map_err(TransferError::WriteLayer)?;
    let filled = fill(source, layer, progress);
    if filled.is_err() {
        // Half of a disk must not be found by anybody; the error that counts is the first one.
        let _ = std::fs::remove_file(layer);
    }
    Ok(Imported { size, data: filled? })
}

fn fill(source: &Source, layer: &Path, progress: &mut dyn FnMut(Progress)) -> Result<u64, TransferError> {
    let open = std::fs::OpenOptions::new().read(true).write(true).open(layer);
    let failed = TransferError::WriteLayer;
    let file = open.map_err(|source| {
        let path = layer.display().to_string();
        failed(crate::DiskError::Io {
            path,
            operation: "open",
            offset: 0,
            source,
        })
    })?;
    let to: Arc<dyn Disk> = Arc::new(Chain::open(vec![file], Access::ReadWrite).map_err(failed)?);
    let mut expansion = source.expansion();
    let written = copy(
        &**source.disk(),
        source.extents(),
        GRANULE,
        &mut |at, bytes| {
            let counted = expansion.count(bytes.len() as u64);
            counted.map_err(|error| source.failed(error))?;
            write_all_at(&*to, at, bytes).map_err(failed)
        },
        progress,
        &|error| source.failed(error),
    )?;
    source.check_unchanged()?;
    to.flush().map_err(failed)?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::time::SystemTime;

    use super::super::{Format, TransferError};
    use super::*;

    /// Imports a disk of 4 MiB, whose file `change` is told of as soon as its first half has been read.
    fn import_while(change: impl Fn(&File)) -> Result<Imported, TransferError> {
        let folder = tempfile::tempdir().unwrap();
        let (raw, layer) = (folder.path().join("raw"), folder.path().join("layer"));
        std::fs::write(&raw, vec![1; 4 << 20]).unwrap();
        let file = File::options().write(true).open(&raw).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let source = Source::open_path(&raw, Some(Format::Raw)).unwrap();
        let imported = import(&source, &layer, &mut |progress| {
            if progress.done < progress.total {
                change(&file);
            }
        });
        assert_eq!(layer.exists(), imported.is_ok());
        imported
    }

    #[test]
    fn a_file_that_changes_while_it_is_imported_is_refused_and_leaves_no_layer() {
        let changes: [&dyn Fn(&File); 4] = [
            &|file| file.set_len(3 << 20).unwrap(),
            &|file| file.set_len(5 << 20).unwrap(),
            &|file| file.write_all_at(&[2], 0).unwrap(),
            &|file| file.set_modified(SystemTime::now()).unwrap(),
        ];
        for change in changes {
            let error = import_while(change).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("raw was changed while it was imported"),
                "{error}"
            );
        }
        assert_eq!(import_while(|_| ()).unwrap().data, 4 << 20);
    }
}
