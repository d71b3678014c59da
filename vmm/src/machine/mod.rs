//! The machine: its spec put together, and run.
//!
//! * [`slots`]: which PCI slot each device gets.
//! * `bays`: what is in the slots, as disks come and go; the `fitter`'s thread readies those that come.
//! * [`assemble`]: in which order everything is made and where it is plugged in.
//! * [`vcpus`]: the threads of the vCPUs, held and let go together by their [`orders`].
//! * `run`: the life of the machine: boot, resets, pauses, the end.
//! * `save`: all of it written to files, and a fresh machine made of them.
//! * [`remote`]: what the control socket can do with it.
//!
//! ```text
//!  vCPU threads --- exits ---> buses --> devices --- PowerEvent ---+
//!       ^                                                          v
//!       +---- hold, go on, restart, end ---- run <---- Event ---- channel <---- Remote (control)
//! ```
//!
//! [`Machine::assemble`] makes no threads but the devices' own and the fitter's, and reads nothing of a disk;
//! [`Machine::run`] reads the kernel, starts the vCPUs and returns when the guest has ended.

pub mod assemble;
mod bays;
pub mod exits;
mod fitter;
pub mod orders;
mod plug;
pub mod remote;
pub mod resumption;
mod run;
mod save;
pub mod slots;
pub mod state;
pub mod vcpu_thread;
pub mod vcpus;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use crate::arch::native;
use crate::boot::source::{BootSource, SourceError};
use crate::control::FileId;
use crate::kvm::{Hypervisor, KvmError};
use crate::legacy::serial::Sink;
use crate::memory::MemoryError;
use crate::pci::PciError;
use crate::saved::{self, RestoreSpec, SavedFiles};
use crate::virtio::DeviceError;
use crate::virtio::block::Backing;
use crate::virtio::console::{PortBackend, PortInput, PortSpec};

pub use assemble::Machine;
pub use fitter::Order as PlugOrder;
pub use remote::Remote;
pub use run::{BootReport, Milestone};

/// What the machine needs of the host, opened before the process gave up the right to open anything.
pub struct HostSide {
    /// KVM.
    pub hypervisor: Hypervisor,
    /// The spec's disks, in its order.
    pub disks: Vec<OpenDisk>,
    /// The other side of the spec's network card.
    pub network: Option<OwnedFd>,
    /// What it boots by.
    pub boot: BootSource,
    /// What the machine goes on from, instead of booting.
    pub saved: Option<Saved>,
    /// Where the bytes of the guest's serial port go.
    pub serial: Sink,
    /// What is behind each console port.
    pub ports: Box<dyn Ports>,
    /// Whether exits are counted by kind and place, for the curious.
    pub exits: exits::Counting,
}

/// A saved machine, open.
#[derive(Debug)]
pub struct Saved {
    /// Its files.
    pub files: SavedFiles,
    /// Whether the machine is held until it is told to go on.
    pub paused: bool,
}

impl Saved {
    /// Opens what `spec` names; a relative path is taken from `directory`.
    ///
    /// # Errors
    /// A file is not there or no plain one.
    pub fn open(spec: &RestoreSpec, directory: &Path) -> Result<Self, saved::OpenError> {
        Ok(Self {
            files: SavedFiles::open(&directory.join(&spec.folder))?,
            paused: spec.paused,
        })
    }
}

/// A disk of the spec, open.
pub struct OpenDisk {
    /// The disk.
    pub backing: Backing,
    /// The file that takes its writes, where that matters to somebody.
    pub top: Option<FileId>,
}

/// Gives every port of a console its other side.
pub trait Ports {
    /// What takes the bytes that the guest writes to the port of `spec`; what the guest shall read is
    /// written to `input`.
    fn connect(&mut self, spec: &PortSpec, input: &PortInput) -> Arc<dyn PortBackend>;
}

/// Why a machine cannot be made or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MachineError {
    /// KVM refused.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The devices at fixed places cannot be made.
    #[error(transparent)]
    Board(#[from] native::BoardError),
    /// Firmware and its devices cannot be made.
    #[error(transparent)]
    Firmware(#[from] native::FirmwareBoardError),
    /// The PCI bus is full.
    #[error(transparent)]
    Pci(#[from] PciError),
    /// A virtio device could not be made.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Kernel, initramfs or menu cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The kernel cannot be loaded.
    #[error(transparent)]
    Load(#[from] crate::boot::kernel::LoadError),
    /// The tables that tell of the machine cannot be written.
    #[error(transparent)]
    Tables(#[from] native::TablesError),
    /// Guest memory cannot be written where RAM must be.
    #[error("guest memory cannot be written: {0}")]
    Write(#[from] vm_memory::GuestMemoryError),
    /// The entry's tables cannot be written.
    #[error(transparent)]
    Entry(#[from] native::EntryError),
    /// What the guest wrote cannot be put on disk.
    #[error("the disks cannot be synced: {0}")]
    Sync(#[from] kiln_imagefmt::DiskError),
    /// A file of a saved machine cannot be opened.
    #[error(transparent)]
    Saved(#[from] saved::OpenError),
    /// The file of a saved state.
    #[error(transparent)]
    StateFile(#[from] saved::state_file::StateFileError),
    /// The file of a saved memory.
    #[error(transparent)]
    MemoryFile(#[from] saved::memory_file::MemoryFileError),
    /// The saved machine is another one.
    #[error(transparent)]
    Unlike(#[from] state::UnlikeError),
    /// A saved state that none of the devices at fixed places can have.
    #[error(transparent)]
    Unfit(#[from] crate::legacy::Unfit),
    /// A guest still has a disk that was taken away from it.
    #[error(
        "a disk that was taken away from the guest is still in slot {0}, as far as the guest knows: a machine can be saved \
         once it has let go of it, or was reset"
    )]
    Held(u8),
    /// The guest asked for a reset or for its end.
    #[error("the guest resets or ends just now")]
    Ending,
    /// A thread could not be started.
    #[error("no thread for {what}: {source}")]
    Thread {
        /// What it is for.
        what: &'static str,
        /// What the host said.
        source: std::io::Error,
    },
    /// A disk of the spec that the host side does not have.
    #[error("disk {0} is not open")]
    DiskNotOpen(String),
    /// A network card of the spec whose other side the host side does not have.
    #[error("the network is not connected")]
    NotConnected,
    /// What KVM keeps for a guest of Hyper-V's interface is not saved.
    #[error("a machine that shows Hyper-V's interface cannot be saved")]
    HyperV,
    /// The vCPUs did not stop.
    #[error("the vCPUs cannot be held: {0}")]
    Vcpus(String),
}
