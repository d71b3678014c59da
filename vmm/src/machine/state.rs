//! The plain state of a whole machine, and what a machine must be to go on from it.

use serde::{Deserialize, Serialize};

use super::slots;
use crate::arch::native::{BoardState, ChipsState, FirmwareState, SavedVcpu};
use crate::pci::{PciBusState, PciError};
use crate::saved::memory_file::MemorySum;
use crate::spec::{Boot, MachineSpec};
use crate::virtio::transport::VirtioPciState;

/// A machine that is held, without its memory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineState {
    /// What it was made of.
    pub shape: Shape,
    /// Its vCPUs, in their order.
    pub vcpus: Vec<SavedVcpu>,
    /// Interrupt controllers, timer and clock.
    pub vm: ChipsState,
    /// The devices at fixed places.
    pub board: BoardState,
    /// The PCI bus.
    pub pci: PciBusState,
    /// The functions in its slots, in their order.
    pub functions: Vec<VirtioPciState>,
    /// The devices that a machine with firmware has.
    #[serde(default)]
    pub firmware: Option<FirmwareState>,
    /// Where in guest memory the generation id is.
    pub generation_at: u64,
    /// The command line that its kernel was booted with: it says which console a login waits at.
    pub cmdline: String,
    /// What the memory's file holds.
    pub memory: MemorySum,
}

/// What a machine is made of, as far as a saved one must be made of the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    cpus: u8,
    memory: u64,
    devices: Vec<String>,
    /// What kind of firmware, if it has any.
    #[serde(default)]
    firmware: Option<String>,
}

/// The longest command line, in bytes: no kernel takes a longer one. It is told on to whoever starts the machine.
const MAX_CMDLINE: usize = 64 << 10;

/// A saved machine that this one cannot go on from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnlikeError {
    /// It was made of something else.
    #[error("the saved machine has {what} {saved}, this one {here}: give it what the saved one had")]
    Shape {
        /// What of it.
        what: &'static str,
        /// The saved machine's.
        saved: String,
        /// This one's.
        here: String,
    },
    /// Its state contradicts itself.
    #[error("the saved state makes no sense: {0}")]
    Incomplete(&'static str),
    /// It ran on other hardware, or was made by another build.
    #[error("{what} of vCPU {vcpu} is not what the saved machine saw: it ran on another CPU or kernel")]
    Cpu {
        /// Which vCPU.
        vcpu: usize,
        /// What it was shown of itself, by its architecture's name.
        what: String,
    },
}

impl Shape {
    /// What the machine of `spec` is made of.
    ///
    /// # Errors
    /// Its devices do not fit into the slots.
    pub fn of(spec: &MachineSpec) -> Result<Self, PciError> {
        let assigned = slots::assign(&spec.devices)?;
        let kinds = assigned
            .into_iter()
            .map(|(slot, device)| (slot, slots::kind(device)));
        let kinds = kinds.collect();
        Ok(Self {
            cpus: spec.cpus,
            memory: spec.memory,
            devices: slots::describe(&kinds),
            firmware: match &spec.boot {
                Boot::Firmware { variables: None, .. } => Some("a BIOS".to_owned()),
                Boot::Firmware { .. } => Some("UEFI".to_owned()),
                Boot::Kernel { .. } | Boot::PvGrub { .. } => None,
            },
        })
    }

    /// The same with these devices, as [`slots::describe`] has them.
    pub(super) fn with_devices(&self, devices: Vec<String>) -> Self {
        Self {
            devices,
            ..self.clone()
        }
    }

    fn differs(&self, here: &Self) -> Option<UnlikeError> {
        let unlike = |what, saved: String, here: String| {
            (saved != here).then_some(UnlikeError::Shape { what, saved, here })
        };
        let devices = |shape: &Self| format!("[{}]", shape.devices.join(", "));
        let firmware = |shape: &Self| shape.firmware.as_deref().unwrap_or("none").to_owned();
        unlike("vCPUs:", self.cpus.to_string(), here.cpus.to_string())
            .or_else(|| {
                unlike(
                    "bytes of memory:",
                    self.memory.to_string(),
                    here.memory.to_string(),
                )
            })
            .or_else(|| unlike("devices:", devices(self), devices(here)))
            .or_else(|| unlike("firmware:", firmware(self), firmware(here)))
    }
}

impl MachineState {
    /// Checks that it is the state of a machine like `here`.
    ///
    /// # Errors
    /// It is of another one, or incomplete.
    pub fn check(&self, here: &Shape) -> Result<(), UnlikeError> {
        if let Some(unlike) = self.shape.differs(here) {
            return Err(unlike);
        }
        if self.vcpus.len() != usize::from(self.shape.cpus) {
            return Err(UnlikeError::Incomplete("the number of vCPUs"));
        }
        if self.functions.len() != self.shape.devices.len() {
            return Err(UnlikeError::Incomplete("the number of devices"));
        }
        if self.firmware.is_some() != self.shape.firmware.is_some() {
            return Err(UnlikeError::Incomplete("whether there is firmware"));
        }
        if self.cmdline.len() > MAX_CMDLINE {
            return Err(UnlikeError::Incomplete("the length of the command line"));
        }
        Ok(())
    }
}
