//! The PC: memory map, interrupt controllers, CPUID, registers, entry of kernels, ACPI and SMBIOS tables,
//! the devices at fixed ports.

pub mod acpi;
pub mod board;
pub mod chips;
pub mod chipset;
mod clock;
pub mod cpuid;
pub mod firmware_board;
#[cfg(test)]
mod hostile;
mod hyperv;
pub mod kernel;
pub mod layout;
pub mod lines;
pub mod memory_map;
pub mod probe;
pub mod registers;
pub mod saved_vcpu;
pub mod syscalls;
pub mod tables;
mod told;
pub mod vcpu;
pub mod vcpu_state;

use kvm_ioctls::Cap;

pub use board::{Board, BoardError, BoardState};
pub use chips::{Chips, ChipsState};
pub use cpuid::Template as CpuTemplate;
pub use firmware_board::{Firmware, FirmwareBoardError, FirmwareState, Surroundings};
pub use memory_map::MemoryMap;
pub use registers::{Entry, EntryError};
pub use saved_vcpu::SavedVcpu;
pub use tables::{Tables, TablesError};
pub use vcpu_state::VcpuState;

/// What the host's KVM must be able to do besides what every architecture needs.
pub(crate) const NEEDED: &[Cap] = &[
    Cap::Irqchip,
    Cap::SetTssAddr,
    Cap::SetIdentityMapAddr,
    Cap::Pit2,
    Cap::PitState2,
    Cap::ExtCpuid,
    Cap::VcpuEvents,
];
