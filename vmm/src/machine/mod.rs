//! The machine: its spec put together, and run.
//!
//! * [`slots`]: which PCI slot each device gets.
//! * [`assemble`]: in which order everything is made and where it is plugged in.
//! * [`vcpus`]: the threads of the vCPUs, held and let go together.
//! * [`run`]: the life of the machine: boot, resets, pauses, the end.
//! * [`remote`]: what the control socket can do with it.
//!
//! ```text
//!  vCPU threads --- exits ---> buses --> devices --- PowerEvent ---+
//!       ^                                                          v
//!       +---- hold, go on, restart, end ---- run <---- Event ---- channel <---- Remote (control)
//! ```
//!
//! [`Machine::assemble`] makes no threads but the devices' own and reads nothing of a disk;
//! [`Machine::run`] reads the kernel, starts the vCPUs and returns when the guest has ended.

pub mod assemble;
mod clock;
pub mod exits;
mod plug;
pub mod remote;
pub mod run;
pub mod slots;
mod vcpu_thread;
pub mod vcpus;

use std::sync::Arc;

use thiserror::Error;

use crate::boot::source::{BootSource, SourceError};
use crate::bus::BusError;
use crate::control::FileId;
use crate::kvm::{Hypervisor, KvmError};
use crate::legacy::serial::Sink;
use crate::memory::MemoryError;
use crate::pci::PciError;
use crate::virtio::DeviceError;
use crate::virtio::block::Backing;
use crate::virtio::console::{PortBackend, PortInput, PortSpec};

pub use assemble::Machine;
pub use remote::Remote;
pub use run::{BootReport, Milestone};

/// What the machine needs of the host, opened before the process gave up the right to open anything.
pub struct HostSide {
    /// KVM.
    pub hypervisor: Hypervisor,
    /// The spec's disks, in its order.
    pub disks: Vec<OpenDisk>,
    /// Where the kernel comes from.
    pub boot: BootSource,
    /// Where the bytes of the guest's serial port go.
    pub serial: Sink,
    /// What is behind each console port.
    pub ports: Box<dyn Ports>,
    /// Whether exits are counted by kind and place, for the curious.
    pub exits: exits::Counting,
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
    /// Two devices at one place.
    #[error(transparent)]
    Bus(#[from] BusError),
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
    /// The ACPI tables cannot be placed.
    #[error(transparent)]
    Acpi(#[from] crate::arch::x86_64::acpi::blob::PlaceError),
    /// Guest memory cannot be written where RAM must be.
    #[error("guest memory cannot be written: {0}")]
    Write(#[from] vm_memory::GuestMemoryError),
    /// The entry's tables cannot be written.
    #[error(transparent)]
    Entry(#[from] crate::arch::x86_64::registers::EntryError),
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
    /// The vCPUs did not stop.
    #[error("the vCPUs cannot be held: {0}")]
    Vcpus(String),
}
