//! What a machine with firmware has besides, still to be built: UEFI in two flashes, the device that tells it of the
//! machine.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vm_memory::GuestMemoryError;

use super::memory_map::MemoryMap;
use super::registers::Entry;
use super::tables::Tables;
use super::{Unbuilt, not_built};
use crate::boot::firmware;
use crate::bus::Bus;
use crate::kvm::KvmError;
use crate::kvm::vm::Vm;
use crate::legacy::Unfit;
use crate::memory::GuestMemory;
use crate::pci::{PciBus, Slot};

/// Firmware in its machine.
pub struct Firmware(Unbuilt);

/// The machine around it.
pub struct Surroundings<'a> {
    /// The machine.
    pub vm: &'a Vm,
    /// Its memory.
    pub memory: &'a GuestMemory,
    /// Its memory's map.
    pub map: &'a MemoryMap,
    /// Its tables.
    pub tables: &'a Tables,
    /// The number of its vCPUs.
    pub cpus: u8,
    /// The slots of its disks, in the order in which they are to be booted from.
    pub disks: &'a [Slot],
}

/// Firmware cannot be put into its machine.
#[derive(Debug, Error)]
pub enum FirmwareBoardError {
    /// It is still to be built.
    #[error(transparent)]
    NotBuilt(#[from] KvmError),
}

/// What its devices remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareState(Unbuilt);

impl Firmware {
    /// Puts it into the machine.
    ///
    /// # Errors
    /// It is still to be built.
    pub fn new(
        _: firmware::Firmware,
        _: &Surroundings<'_>,
        _: &Bus,
        _: &Bus,
        _: &PciBus,
    ) -> Result<Self, FirmwareBoardError> {
        Err(not_built().into())
    }

    /// What kind it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self.0 {}
    }

    /// Readies `memory`, and tells how the firmware is entered.
    ///
    /// # Errors
    /// There is no RAM.
    pub fn start(&self, _: &GuestMemory) -> Result<Entry, GuestMemoryError> {
        match self.0 {}
    }

    /// Where in guest memory the generation id is.
    pub fn generation_at(&self) -> u64 {
        match self.0 {}
    }

    /// As at power-on.
    pub fn reset(&self) {
        match self.0 {}
    }

    /// What its devices remember, for saving.
    pub fn state(&self) -> FirmwareState {
        match self.0 {}
    }

    /// Takes over what [`Self::state`] gave.
    ///
    /// # Errors
    /// One of the states is none of its device.
    pub fn restore(&self, _: &FirmwareState) -> Result<(), Unfit> {
        match self.0 {}
    }
}
