//! What a machine with firmware has besides: the firmware itself below 4 GiB, the device by which it learns of the
//! machine, the south bridge by which it knows the board.
//!
//! ```text
//!  0xE0000   1 MiB                             4 GiB - 16 MiB        4 GiB
//!  | copy of the BIOS's end |  ...             | variables | code    |
//!                                                            ^ first instruction: 16 bytes before the end
//! ```
//!
//! Under the copy is RAM, which the BIOS unlocks as it would on a q35, and then writes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::acpi::blob::PlaceError;
use super::acpi::loader::GENERATION_AT;
use super::chipset::{LPC_SLOT, Lpc};
use super::layout::{EXTENDED, FW_CFG, HIGH_RAM};
use super::memory_map::MemoryMap;
use super::registers::Entry;
use super::tables::Tables;
use super::told;
use crate::boot::firmware::{self, Variables};
use crate::bus::{Bus, BusError};
use crate::kvm::KvmError;
use crate::kvm::memory_slots::ReadOnlyMemory;
use crate::kvm::vm::Vm;
use crate::legacy::Unfit;
use crate::legacy::flash::{Flash, FlashState};
use crate::legacy::fw_cfg::{self, FwCfg, FwCfgState};
use crate::memory::{self, GuestMemory, HugePages, MemoryError};
use crate::pci::{ConfigState, PciBus, PciError, Slot};

/// The most of a BIOS that is copied below 1 MiB.
const MAX_COPY: usize = 128 << 10;

/// Firmware in its machine.
pub struct Firmware {
    code: Vec<u8>,
    fw_cfg: Arc<FwCfg>,
    lpc: Arc<Lpc>,
    flash: Option<Arc<Flash>>,
    /// Kept for the guest, which reads it.
    _rom: ReadOnlyMemory,
}

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
#[non_exhaustive]
pub enum FirmwareBoardError {
    /// KVM refused; it may lack memory that guests only read.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// There is no memory for it.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Its file cannot be read, or memory cannot be written.
    #[error("the firmware cannot be read into memory: {0}")]
    Content(#[from] GuestMemoryError),
    /// The ACPI tables do not fit together.
    #[error(transparent)]
    Tables(#[from] PlaceError),
    /// Something else lies there.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The same, of PCI.
    #[error(transparent)]
    Pci(#[from] PciError),
}

/// What its devices remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareState {
    fw_cfg: FwCfgState,
    lpc: ConfigState,
    flash: Option<FlashState>,
}

impl Firmware {
    /// Puts `firmware` into the machine that is around it, and its devices on the buses of ports and of addresses and
    /// on `pci`.
    ///
    /// # Errors
    /// KVM cannot have guests only read memory, or the host has no memory.
    pub fn new(
        firmware: firmware::Firmware,
        around: &Surroundings<'_>,
        ports: &Bus,
        addresses: &Bus,
        pci: &PciBus,
    ) -> Result<Self, FirmwareBoardError> {
        let firmware::Firmware { code, variables } = firmware;
        let directory = told::directory(around)?;
        let fw_cfg = Arc::new(FwCfg::new(directory, around.memory.clone()));
        ports.insert(FW_CFG.into(), fw_cfg::LEN, Arc::clone(&fw_cfg) as _)?;
        let lpc = Arc::new(Lpc::new());
        let slot = Slot::new(LPC_SLOT).ok_or(PciError::NoSlot)?;
        pci.add(Arc::clone(&lpc) as _, slot)?;

        let begin = HIGH_RAM - code.len() as u64;
        let rom = memory::map_in(HugePages::Off, &[(begin, code.len() as u64)])?;
        rom.write_slice(&code, GuestAddress(begin))?;
        let rom = around.vm.read_only_memory(0, rom)?;
        rom.show()?;
        let flash = match variables {
            Some(variables) => Some(flash(variables, begin, around.vm, addresses)?),
            None => None,
        };
        Ok(Self {
            code,
            fw_cfg,
            lpc,
            flash,
            _rom: rom,
        })
    }

    /// What kind it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self.flash {
            Some(_) => "UEFI",
            None => "BIOS",
        }
    }

    /// Readies `memory`, which is empty, and tells how the firmware is entered.
    ///
    /// # Errors
    /// There is no RAM below 1 MiB.
    pub fn start(&self, memory: &GuestMemory) -> Result<Entry, GuestMemoryError> {
        if self.flash.is_none() {
            let skip = self.code.len().saturating_sub(MAX_COPY);
            let copy = self.code.get(skip..).unwrap_or_default();
            memory.write_slice(copy, GuestAddress(EXTENDED - copy.len() as u64))?;
        }
        Ok(Entry::ResetVector)
    }

    /// Where in guest memory the firmware put the generation id; 0: nowhere so far.
    pub fn generation_at(&self) -> u64 {
        let told = self
            .fw_cfg
            .file(GENERATION_AT)
            .and_then(|bytes| bytes.try_into().ok());
        u64::from_le_bytes(told.unwrap_or_default())
    }

    /// As at power-on. What is on the PCI bus is reset by that.
    pub fn reset(&self) {
        self.fw_cfg.reset();
        if let Some(flash) = &self.flash {
            flash.reset();
        }
    }

    /// What its devices remember, for saving. The variables stay in their file, as disks do.
    pub fn state(&self) -> FirmwareState {
        FirmwareState {
            fw_cfg: self.fw_cfg.state(),
            lpc: self.lpc.state(),
            flash: self.flash.as_ref().map(|flash| flash.state()),
        }
    }

    /// Takes over what [`Self::state`] gave.
    ///
    /// # Errors
    /// One of the states is none of its device.
    pub fn restore(&self, state: &FirmwareState) -> Result<(), Unfit> {
        self.fw_cfg.restore(&state.fw_cfg)?;
        self.lpc.restore(&state.lpc);
        if let Some((flash, state)) = self.flash.as_ref().zip(state.flash) {
            flash.restore(state);
        }
        Ok(())
    }
}

/// Puts the variables below `end`.
fn flash(variables: Variables, end: u64, vm: &Vm, addresses: &Bus) -> Result<Arc<Flash>, FirmwareBoardError> {
    let Variables { file, len } = variables;
    let base = end - len;
    let memory = memory::map_in(HugePages::Off, &[(base, len)])?;
    let window = vm.read_only_memory(1, memory.clone())?;
    let flash = Arc::new(Flash::new(memory, base, len, file, Box::new(window))?);
    addresses.insert(base, len, Arc::clone(&flash) as _)?;
    Ok(flash)
}
