//! The devices in their slots, as they come and go.
//!
//! ```text
//!  plug    control ─> fitter: opens, makes threads ─> machine: into a free slot ─> the guest is told
//!  unplug  control ─> machine: asked for ─> the guest is told ─> ejects (vCPU): out of the bus, its rings forgotten
//!                                                            └─> fitter: its threads end, its files are closed
//!  force   control ─> machine: what is behind it is taken ─> fitter: its files are closed; the guest is told, and
//!                     the slot is free once it has let go
//! ```
//!
//! Lock order: what is in the slots, then what is being closed; nothing else is locked under them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_imagefmt::Disk;

use super::fitter::{Fitted, Fitter, Gone, Order};
use super::{MachineError, OpenDisk, slots};
use crate::control::{ChainDisk, ControlError, ControlledDisk, ErrorKind, Unplug};
use crate::pci::{Hotplug, PciBus, PciFunction, Slot, SlotSet};
use crate::virtio::block::{Block, BlockSpec};
use crate::virtio::transport::{VirtioPci, Wiring};
use crate::virtio::{DeviceError, Guarded, ThreadSetup};

/// What is in a slot.
pub(super) struct Bay {
    /// The word for it in messages.
    pub(super) kind: &'static str,
    pub(super) function: Arc<VirtioPci>,
    /// Of a disk that was not taken away.
    pub(super) drive: Option<Drive>,
}

/// A disk's host side.
#[derive(Clone)]
pub(super) struct Drive {
    pub(super) disk: Arc<ChainDisk>,
    pub(super) backing: Arc<dyn Disk>,
}

impl Drive {
    /// The device of an open disk in a machine of `cpus` vCPUs, with threads, and its host side.
    ///
    /// # Errors
    /// The host gives no threads.
    pub(super) fn make(
        spec: &BlockSpec,
        open: &OpenDisk,
        cpus: u8,
        setup: &Arc<dyn ThreadSetup>,
    ) -> Result<(Block, Self), DeviceError> {
        let backing = open.backing.disk();
        let queues = spec.queues(cpus);
        let block = Block::new(&spec.id, Arc::clone(&backing), spec.serial(), queues, setup)?;
        let chain = open.backing.chain().cloned();
        let disk = Arc::new(ChainDisk::new(spec.id.clone(), block.gate(), chain, open.top));
        Ok((block, Self { disk, backing }))
    }
}

/// All of them.
pub(super) struct Bays {
    taken: Guarded<BTreeMap<Slot, Bay>>,
    /// Disks that have gone and are not closed yet, by id.
    closing: Arc<Guarded<Vec<String>>>,
    pluggable: SlotSet,
    pci: Arc<PciBus>,
    hotplug: Arc<Hotplug>,
    wiring: Wiring,
    fitter: Fitter,
}

impl Bays {
    /// The devices that a machine begins with.
    pub(super) fn new(
        taken: BTreeMap<Slot, Bay>,
        pluggable: SlotSet,
        pci: Arc<PciBus>,
        hotplug: Arc<Hotplug>,
        wiring: Wiring,
        fitter: Fitter,
    ) -> Arc<Self> {
        let bays = Arc::new(Self {
            taken: Guarded::new(taken),
            closing: Arc::default(),
            pluggable,
            pci,
            hotplug,
            wiring,
            fitter,
        });
        // Not kept by the registers, which the bays keep.
        let ejector = Arc::downgrade(&bays);
        bays.hotplug.serve(Arc::new(move |slot| {
            if let Some(bays) = ejector.upgrade() {
                bays.eject(slot);
            }
        }));
        bays
    }

    /// The functions in their slots' order.
    pub(super) fn functions(&self) -> Vec<Arc<VirtioPci>> {
        let taken = self.taken.lock();
        taken.values().map(|bay| Arc::clone(&bay.function)).collect()
    }

    /// The disks in their slots' order.
    pub(super) fn disks(&self) -> Vec<Arc<ChainDisk>> {
        self.drives().map(|drive| drive.disk).collect()
    }

    /// What is behind them.
    pub(super) fn backings(&self) -> Vec<Arc<dyn Disk>> {
        self.drives().map(|drive| drive.backing).collect()
    }

    fn drives(&self) -> impl Iterator<Item = Drive> {
        let drives: Vec<_> = self
            .taken
            .lock()
            .values()
            .filter_map(|bay| bay.drive.clone())
            .collect();
        drives.into_iter()
    }

    /// The ids of the disks that the guest is asked for, and of those that have gone and are not closed yet.
    pub(super) fn leaving(&self) -> Vec<String> {
        let asked = self.hotplug.asked();
        let taken = self.taken.lock();
        let asked = taken.iter().filter(|(slot, _)| asked.contains(**slot));
        let mut leaving: Vec<String> = asked.filter_map(|(_, bay)| bay.id()).collect();
        drop(taken);
        leaving.extend(self.closing.lock().iter().cloned());
        leaving
    }

    /// What is in the slots, in a word each, for who makes a machine like it.
    ///
    /// # Errors
    /// A guest still has a disk that was taken away: no other machine could be given that.
    pub(super) fn describe(&self) -> Result<Vec<String>, MachineError> {
        let taken = self.taken.lock();
        let mut kinds = BTreeMap::new();
        for (slot, bay) in taken.iter() {
            if bay.function.is_gone() {
                return Err(MachineError::Held(slot.number()));
            }
            kinds.insert(*slot, bay.kind);
        }
        Ok(slots::describe(&kinds))
    }

    /// Opens a disk that is to come, and makes its threads.
    pub(super) fn fit(&self, order: Order) -> Result<Fitted, ControlError> {
        self.must_be_new(&order.spec.id)?;
        self.fitter.fit(order)
    }

    /// Puts a disk into its slot, or a free one, and tells the guest. For the machine's thread.
    ///
    /// # Errors
    /// There is no free slot, or the host gives no descriptors.
    pub(super) fn insert(&self, fitted: Fitted) -> Result<u8, ControlError> {
        let Fitted { slot, block, drive } = fitted;
        self.must_be_new(drive.disk.id())?;
        let slot = self.free_slot(slot)?;
        let function = VirtioPci::insert(Box::new(block), slot, &self.pci, self.wiring.clone())
            .map_err(|error| ControlError::new(ErrorKind::Internal, error.to_string()))?;
        tracing::info!(
            disk = drive.disk.id(),
            slot = slot.number(),
            "a disk was plugged in"
        );
        let bay = Bay {
            kind: slots::DISK,
            function,
            drive: Some(drive),
        };
        self.taken.lock().insert(slot, bay);
        self.hotplug.insert(slot);
        Ok(slot.number())
    }

    fn must_be_new(&self, id: &str) -> Result<(), ControlError> {
        let is_there = self
            .taken
            .lock()
            .values()
            .any(|bay| bay.id().as_deref() == Some(id));
        if is_there || self.closing.lock().iter().any(|closing| closing == id) {
            let message = format!("this machine has a disk `{}` already", id.escape_debug());
            return Err(ControlError::new(ErrorKind::State, message));
        }
        Ok(())
    }

    fn free_slot(&self, wanted: Option<u8>) -> Result<Slot, ControlError> {
        let taken: SlotSet = self.taken.lock().keys().copied().collect();
        let is_wanted = |slot: &Slot| wanted.is_none_or(|wanted| slot.number() == wanted);
        let free = self.pluggable.without(taken).iter().find(is_wanted);
        free.ok_or_else(|| {
            let message = match wanted {
                Some(number) => format!("slot {number} is taken, or nothing can be plugged into it"),
                None => "every slot is taken: a disk must be unplugged first".to_owned(),
            };
            ControlError::new(ErrorKind::NoSlot, message)
        })
    }

    /// Asks the guest to let go of a disk, or takes the disk away whether it does or not. For the machine's thread.
    ///
    /// # Errors
    /// There is no such disk, or the machine boots from it.
    pub(super) fn unplug(&self, id: &str, how: Unplug) -> Result<(), ControlError> {
        if self.closing.lock().iter().any(|closing| closing == id) {
            return Ok(());
        }
        let taken = self.taken.lock();
        let found = taken.iter().find(|(_, bay)| bay.id().as_deref() == Some(id));
        let Some((slot, function)) = found.map(|(slot, bay)| (*slot, Arc::clone(&bay.function))) else {
            let message = format!("this machine has no disk `{}`", id.escape_debug());
            return Err(ControlError::new(ErrorKind::NoSuchDisk, message));
        };
        drop(taken);
        if !self.pluggable.contains(slot) {
            let message = format!("the machine boots from disk `{}`: it stays", id.escape_debug());
            return Err(ControlError::new(ErrorKind::State, message));
        }
        if how == Unplug::Force {
            function.vanish();
            let mut taken = self.taken.lock();
            let drive = taken.get_mut(&slot).and_then(|bay| bay.drive.take());
            self.note_closing(drive.as_ref());
            drop(taken);
            // The guest may have let go of it meanwhile.
            let Some(drive) = drive else { return Ok(()) };
            tracing::warn!(
                disk = id,
                slot = slot.number(),
                "a disk was taken away from the guest"
            );
            self.close(None, drive);
        }
        self.hotplug.ask(slot);
        Ok(())
    }

    /// The guest has let go of what is in a slot: it is taken out before the guest goes on. For vCPUs, and for the
    /// machine's thread while they are held.
    fn eject(&self, slot: Slot) {
        if !self.pluggable.contains(slot) {
            return;
        }
        // First of the bus: a slot that is free here is free there.
        self.pci.remove(slot);
        let mut taken = self.taken.lock();
        let Some(Bay { function, drive, .. }) = taken.remove(&slot) else {
            return;
        };
        self.note_closing(drive.as_ref());
        drop(taken);
        // From here on it touches neither memory nor interrupts.
        function.reset();
        tracing::info!(slot = slot.number(), "the guest has let go of a disk");
        match drive {
            Some(drive) => self.close(Some(function), drive),
            // Taken away before: its threads have nothing left to write, but end they must.
            None => self.fitter.end(function),
        }
    }

    /// A guest that begins anew holds nothing: what it was asked for is taken. The vCPUs are held.
    pub(super) fn settle(&self) {
        self.hotplug.asked().iter().for_each(|slot| self.eject(slot));
    }

    /// At every moment a disk is in a slot, or among those that are being closed, until it is closed.
    fn note_closing(&self, drive: Option<&Drive>) {
        let ids = drive.map(|drive| drive.disk.id().to_owned());
        self.closing.lock().extend(ids);
    }

    fn close(&self, function: Option<Arc<VirtioPci>>, drive: Drive) {
        let id = drive.disk.id().to_owned();
        // It does not keep the bays: the fitter must not be the one who drops them.
        let closing = Arc::clone(&self.closing);
        let closed = Box::new(move || closing.lock().retain(|closing| *closing != id));
        self.fitter.close(Gone {
            function,
            drive,
            closed,
        });
    }
}

impl Bay {
    fn id(&self) -> Option<String> {
        self.drive.as_ref().map(|drive| drive.disk.id().to_owned())
    }
}
