//! A machine made of flags.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::control::wire::{ErrorKind, RunState};
use crate::control::{
    ControlError, ControlledDisk, FileId, GuestAgent, MachineControl, MachineStatus, SaveReport, Seal, Swap,
    Unplug,
};
use crate::machine::PlugOrder;
use crate::saved::SavedFiles;
use crate::virtio::balloon::BalloonLevel;

/// A disk that remembers which file is on top, and whether its gate was closed at the swap.
#[derive(Default)]
pub(super) struct FakeDisk {
    pub(super) id: String,
    pub(super) top: Arc<Mutex<Option<FileId>>>,
    pub(super) closed: Arc<AtomicBool>,
    pub(super) never_drains: bool,
    pub(super) refuses: bool,
    pub(super) cannot_sync: bool,
    pub(super) swaps: Arc<AtomicU32>,
}

pub(super) struct FakeSwap {
    overlay: File,
    disk: (Arc<Mutex<Option<FileId>>>, Arc<AtomicBool>, Arc<AtomicU32>),
    pub(super) cannot_sync: bool,
}

impl ControlledDisk for FakeDisk {
    fn id(&self) -> &str {
        &self.id
    }

    fn top(&self) -> Option<FileId> {
        *self.top.lock().unwrap()
    }

    fn is_unsynced(&self) -> bool {
        self.cannot_sync && self.swaps.load(Ordering::SeqCst) > 0
    }

    fn prepare(&self, overlay: File, _: Option<&str>) -> Result<Box<dyn Swap>, ControlError> {
        if self.refuses {
            return Err(ControlError::new(ErrorKind::Overlay, "another size"));
        }
        let disk = (
            Arc::clone(&self.top),
            Arc::clone(&self.closed),
            Arc::clone(&self.swaps),
        );
        Ok(Box::new(FakeSwap {
            overlay,
            disk,
            cannot_sync: self.cannot_sync,
        }))
    }

    fn close_gate(&self) {
        assert!(!self.closed.swap(true, Ordering::SeqCst), "closed twice");
    }

    fn is_drained_within(&self, _: Duration) -> bool {
        !self.never_drains
    }

    fn open_gate(&self) {
        assert!(self.closed.swap(false, Ordering::SeqCst), "opened twice");
    }
}

impl Swap for FakeSwap {
    fn swap(self: Box<Self>) -> Box<dyn Seal> {
        let (top, closed, swaps) = &self.disk;
        assert!(closed.load(Ordering::SeqCst), "swapped with an open gate");
        *top.lock().unwrap() = Some(FileId::of(&self.overlay).unwrap());
        swaps.fetch_add(1, Ordering::SeqCst);
        self
    }
}

impl Seal for FakeSwap {
    fn sync(self: Box<Self>) -> Result<(), ControlError> {
        assert!(!self.disk.1.load(Ordering::SeqCst), "synced with a closed gate");
        if self.cannot_sync {
            return Err(ControlError::new(ErrorKind::Internal, "input/output error"));
        }
        Ok(())
    }
}

/// A guest whose file systems are frozen or not; a freeze may take until it is let go.
#[derive(Default)]
pub(super) struct FakeAgent {
    pub(super) frozen: Mutex<bool>,
    pub(super) changed: Condvar,
    pub(super) thaws: AtomicU32,
    /// The freeze waits this long, or for a thaw.
    pub(super) slow: Option<Duration>,
}

impl GuestAgent for FakeAgent {
    fn is_heard(&self) -> bool {
        true
    }

    fn freeze(&self, _: Duration) -> Result<(), ControlError> {
        let mut frozen = self.frozen.lock().unwrap();
        *frozen = true;
        let deadline = Instant::now() + self.slow.unwrap_or_default();
        while *frozen && Instant::now() < deadline {
            frozen = self
                .changed
                .wait_timeout(frozen, Duration::from_millis(5))
                .unwrap()
                .0;
        }
        Ok(())
    }

    fn thaw(&self) -> Result<(), ControlError> {
        *self.frozen.lock().unwrap() = false;
        self.changed.notify_all();
        self.thaws.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn set_clock(&self) -> Result<(), ControlError> {
        Ok(())
    }

    fn seed(&self) -> Result<(), ControlError> {
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct FakeMachine {
    pub(super) paused: AtomicBool,
    pub(super) buttons: AtomicU32,
    pub(super) resets: AtomicU64,
    pub(super) killed: Mutex<Option<String>>,
    pub(super) disks: Vec<Arc<FakeDisk>>,
    pub(super) agent: Option<Arc<FakeAgent>>,
    pub(super) leaving: Mutex<Vec<String>>,
    pub(super) balloon: Option<Arc<BalloonLevel>>,
    /// Id, number of files, their paths.
    pub(super) plugged: Mutex<Vec<(String, usize, Vec<String>)>>,
}

impl MachineControl for FakeMachine {
    fn status(&self) -> MachineStatus {
        let paused = self.paused.load(Ordering::SeqCst);
        MachineStatus {
            state: if paused {
                RunState::Paused
            } else {
                RunState::Running
            },
            uptime: Duration::from_millis(1500),
            resets: self.resets.load(Ordering::SeqCst),
        }
    }

    fn pause(&self) -> Result<(), ControlError> {
        self.paused.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn resume(&self) -> Result<(), ControlError> {
        self.paused.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn save(&self, files: SavedFiles) -> Result<SaveReport, ControlError> {
        (&files.state).write_all(b"state").unwrap();
        (&files.memory).write_all(b"memory").unwrap();
        Ok(SaveReport {
            stall_us: 1,
            memory_bytes: 6,
            state_bytes: 5,
        })
    }

    fn powerdown(&self) -> Result<(), ControlError> {
        self.buttons.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn reset(&self) -> Result<(), ControlError> {
        self.resets.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn kill(&self, detail: &str) {
        *self.killed.lock().unwrap() = Some(detail.to_owned());
    }

    fn disks(&self) -> Vec<Arc<dyn ControlledDisk>> {
        self.disks
            .iter()
            .map(|disk| Arc::clone(disk) as Arc<dyn ControlledDisk>)
            .collect()
    }

    fn leaving(&self) -> Vec<String> {
        self.leaving.lock().unwrap().clone()
    }

    fn plug(&self, order: PlugOrder) -> Result<u8, ControlError> {
        self.plugged
            .lock()
            .unwrap()
            .push((order.spec.id, order.files.len(), order.paths));
        Ok(4)
    }

    fn unplug(&self, id: &str, _: Unplug) -> Result<(), ControlError> {
        self.leaving.lock().unwrap().push(id.to_owned());
        Ok(())
    }

    fn balloon(&self) -> Option<Arc<BalloonLevel>> {
        self.balloon.clone()
    }

    fn agent(&self) -> Option<Arc<dyn GuestAgent>> {
        self.agent
            .as_ref()
            .map(|agent| Arc::clone(agent) as Arc<dyn GuestAgent>)
    }
}
