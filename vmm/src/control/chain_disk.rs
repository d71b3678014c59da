//! A disk of the machine, as the control socket sees it: a gate in front of a chain of layers.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kiln_imagefmt::chain::{Chain, Prepared, Sealing};

use super::{ControlError, ControlledDisk, ErrorKind, FileId, Seal, Swap};
use crate::virtio::block::{BlockGate, DiskTraffic};

/// A block device's disk.
pub struct ChainDisk {
    id: String,
    gate: Arc<BlockGate>,
    /// `None`: a raw disk, which takes no overlay.
    chain: Option<Arc<Chain>>,
    /// Guards which file takes the writes; changed by a swap.
    top: Arc<Mutex<Option<FileId>>>,
}

impl ChainDisk {
    /// The disk `id` behind `gate`; `top` is the file that takes its writes now.
    pub fn new(id: String, gate: Arc<BlockGate>, chain: Option<Arc<Chain>>, top: Option<FileId>) -> Self {
        Self {
            id,
            gate,
            chain,
            top: Arc::new(Mutex::new(top)),
        }
    }
}

impl ControlledDisk for ChainDisk {
    fn id(&self) -> &str {
        &self.id
    }

    fn top(&self) -> Option<FileId> {
        *self.top.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_unsynced(&self) -> bool {
        self.chain.as_ref().is_some_and(|chain| chain.is_sealing())
    }

    fn prepare(&self, overlay: File, path: Option<&str>) -> Result<Box<dyn Swap>, ControlError> {
        let refused = |why: &dyn std::fmt::Display| {
            ControlError::new(ErrorKind::Overlay, format!("disk `{}`: {why}", self.id))
        };
        let Some(chain) = &self.chain else {
            return Err(refused(&"a raw disk takes no overlay"));
        };
        let id = FileId::of(&overlay).map_err(|error| refused(&error))?;
        let prepared = match path {
            Some(path) => chain.prepare_at(overlay, path),
            None => chain.prepare(overlay),
        };
        let prepared = prepared.map_err(|error| refused(&error))?;
        Ok(Box::new(Overlay {
            chain: Arc::clone(chain),
            prepared,
            id,
            top: Arc::clone(&self.top),
        }))
    }

    fn traffic(&self) -> DiskTraffic {
        self.gate.traffic()
    }

    fn close_gate(&self) {
        self.gate.begin_close();
    }

    fn is_drained_within(&self, patience: Duration) -> bool {
        self.gate.is_drained_within(patience)
    }

    fn open_gate(&self) {
        self.gate.open();
    }
}

/// A checked overlay.
struct Overlay {
    chain: Arc<Chain>,
    prepared: Prepared,
    id: FileId,
    top: Arc<Mutex<Option<FileId>>>,
}

impl Swap for Overlay {
    fn swap(self: Box<Self>) -> Box<dyn Seal> {
        let sealing = self.chain.swap(self.prepared);
        *self.top.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.id);
        Box::new(FormerTop {
            chain: self.chain,
            sealing,
        })
    }
}

/// A former top.
struct FormerTop {
    chain: Arc<Chain>,
    sealing: Sealing,
}

impl Seal for FormerTop {
    fn sync(self: Box<Self>) -> Result<(), ControlError> {
        self.chain
            .sync_sealing(self.sealing)
            .map_err(|error| ControlError::new(ErrorKind::NotSynced, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use kiln_imagefmt::{Access, Disk, create_base, create_overlay};

    use super::*;

    const SIZE: u64 = 1 << 20;

    fn open(path: &Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn write(disk: &Chain, offset: u64, byte: u8) {
        let bytes = [byte; 512];
        kiln_imagefmt::write_all_at(disk, offset, &bytes).unwrap();
    }

    #[test]
    fn writes_after_the_swap_are_in_the_new_file_and_those_before_it_in_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let (base, overlay) = (folder.path().join("base.qcow2"), folder.path().join("over.qcow2"));
        create_base(&base, SIZE).unwrap();
        create_overlay(&overlay, "base.qcow2", SIZE).unwrap();
        let chain = Arc::new(Chain::open_path(&base, Access::ReadWrite).unwrap());
        let top = FileId::of(open(&base)).unwrap();
        let gate = Arc::new(BlockGate::default());
        let disk = ChainDisk::new("vol-a".to_owned(), gate, Some(Arc::clone(&chain)), Some(top));
        write(&chain, 0, 1);

        let swap = disk.prepare(open(&overlay), None).unwrap();
        disk.close_gate();
        assert!(disk.is_drained_within(Duration::ZERO));
        let seal = swap.swap();
        disk.open_gate();
        write(&chain, 512, 2);
        assert!(disk.is_unsynced(), "the old file is not on disk yet");
        seal.sync().unwrap();
        assert!(!disk.is_unsynced(), "the old file is on disk");

        assert_eq!(disk.top(), Some(FileId::of(open(&overlay)).unwrap()));
        chain.flush().unwrap();
        let mut bytes = [0; 1024];
        kiln_imagefmt::read_exact_at(&*chain, 0, &mut bytes).unwrap();
        assert_eq!((bytes[0], bytes[512]), (1, 2));
    }

    #[test]
    fn what_is_no_overlay_of_this_disk_is_refused_by_the_disks_name() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base.qcow2");
        create_base(&base, SIZE).unwrap();
        let chain = Arc::new(Chain::open_path(&base, Access::ReadWrite).unwrap());
        let gate = Arc::new(BlockGate::default());
        let disk = ChainDisk::new("vol-a".to_owned(), Arc::clone(&gate), Some(chain), None);
        let error = disk.prepare(tempfile::tempfile().unwrap(), None).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Overlay);
        assert!(error.message.contains("vol-a"), "{error}");
        let raw = ChainDisk::new("vol-b".to_owned(), gate, None, None);
        assert!(raw.prepare(tempfile::tempfile().unwrap(), None).is_err());
    }
}
