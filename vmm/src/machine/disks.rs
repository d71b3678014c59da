//! The machine's disks as the control socket sees them: gates, and tops that can be exchanged.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use kiln_imagefmt::{Chain, Prepared, Sealing};

use crate::control::{ControlError, ControlledDisk, ErrorKind, FileId, Seal, Swap};
use crate::virtio::block::{Backing, BlockGate};

/// A disk of a running machine.
pub struct MachineDisk {
    id: String,
    backing: Backing,
    gate: Arc<BlockGate>,
}

impl MachineDisk {
    pub(super) fn new(id: String, backing: Backing, gate: Arc<BlockGate>) -> Self {
        Self { id, backing, gate }
    }
}

impl ControlledDisk for MachineDisk {
    fn id(&self) -> &str {
        &self.id
    }

    fn top(&self) -> Option<FileId> {
        None
    }

    fn prepare(&self, overlay: File) -> Result<Box<dyn Swap>, ControlError> {
        let chain = self.backing.chain().ok_or_else(|| {
            let message = format!("disk {} is raw: it takes no overlay", self.id);
            ControlError::new(ErrorKind::NoSuchDisk, message)
        })?;
        let prepared = chain
            .prepare(overlay)
            .map_err(|refusal| ControlError::new(ErrorKind::Overlay, format!("disk {}: {refusal}", self.id)))?;
        Ok(Box::new(ReadiedTop { chain: Arc::clone(chain), prepared }))
    }

    fn close_gate(&self, patience: Duration) -> bool {
        self.gate.begin_close();
        let drained = self.gate.is_drained_within(patience);
        if !drained {
            self.gate.open();
        }
        drained
    }

    fn open_gate(&self) {
        self.gate.open();
    }
}

struct ReadiedTop {
    chain: Arc<Chain>,
    prepared: Prepared,
}

impl Swap for ReadiedTop {
    fn swap(self: Box<Self>) -> Box<dyn Seal> {
        let sealing = self.chain.swap(self.prepared);
        Box::new(FormerTop { chain: self.chain, sealing })
    }
}

struct FormerTop {
    chain: Arc<Chain>,
    sealing: Sealing,
}

impl Seal for FormerTop {
    fn sync(self: Box<Self>) -> Result<(), ControlError> {
        self.chain
            .sync_sealing(self.sealing)
            .map_err(|failure| ControlError::new(ErrorKind::NotSynced, failure.to_string()))
    }
}
