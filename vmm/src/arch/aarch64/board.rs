//! The devices at fixed addresses, still to be built: the serial port, the clock, the power button, the
//! generation id's interrupt, the ways to PCI.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::memory_map::MemoryMap;
use super::{Unbuilt, not_built};
use crate::bus::Bus;
use crate::kvm::KvmError;
use crate::kvm::vm::Vm;
use crate::legacy::generation::Generation;
use crate::legacy::serial::{Serial, Sink};
use crate::legacy::{PowerButton, PowerSink, Unfit};
use crate::pci::{Hotplug, PciBus};

/// The devices that others need to reach.
#[derive(Clone)]
pub struct Board {
    /// The serial port.
    pub serial: Arc<Serial>,
    /// The generation id.
    pub generation: Arc<Generation>,
    /// The registers by which devices come and go.
    pub hotplug: Arc<Hotplug>,
    unbuilt: Unbuilt,
}

/// What the devices remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardState(Unbuilt);

/// The devices cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// They are still to be built.
    #[error(transparent)]
    NotBuilt(#[from] KvmError),
}

impl Board {
    /// Makes the devices, their interrupts wired to `vm`.
    pub fn new(_: &Vm, _: PowerSink, _: Sink, _: &MemoryMap, _: u8) -> Result<Self, BoardError> {
        Err(not_built().into())
    }

    /// Devices whose interrupts lead nowhere, and whose power events go to `power`: for what needs no
    /// machine around them.
    ///
    /// # Errors
    /// They are still to be built.
    #[cfg(any(test, fuzzing))]
    pub fn unwired(_: PowerSink) -> std::io::Result<Self> {
        Err(std::io::Error::other(not_built()))
    }

    /// Puts all of them on the buses, with the ways to `pci`.
    pub fn plug(&self, _: &Bus, _: &Bus, _: &Arc<PciBus>, _: PowerSink) -> Result<(), BoardError> {
        match self.unbuilt {}
    }

    /// The power button, for whoever is to press it.
    pub fn power_button(&self) -> PowerButton {
        match self.unbuilt {}
    }

    /// What all of them remember, for saving.
    pub fn state(&self) -> BoardState {
        match self.unbuilt {}
    }

    /// Takes over what [`Self::state`] gave.
    ///
    /// # Errors
    /// One of the states is none of its device.
    pub fn restore(&self, _: &BoardState) -> Result<(), Unfit> {
        match self.unbuilt {}
    }

    /// As at power-on.
    pub fn reset(&self) {
        match self.unbuilt {}
    }
}
