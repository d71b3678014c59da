//! The arm64 board, of the shape of QEMU's `virt`. Type-checked, and no more: what follows from the
//! documents in a few lines is here, so that the seams are known to be in the right places; interrupt
//! controller, device tree, loader and devices are still to be built. Until then no machine can be made:
//! [`Chips::create`] is the first to be asked for one, and says so.

pub mod board;
pub mod chips;
pub mod cpu;
pub mod firmware_board;
pub mod kernel;
pub mod layout;
pub mod lines;
pub mod memory_map;
pub mod probe;
pub mod registers;
pub mod saved_vcpu;
pub mod syscalls;
pub mod tables;
pub mod vcpu;
pub mod vcpu_state;

use kvm_ioctls::Cap;
use serde::{Deserialize, Serialize};

pub use board::{Board, BoardError, BoardState};
pub use chips::{Chips, ChipsState};
pub use cpu::Template as CpuTemplate;
pub use firmware_board::{Firmware, FirmwareBoardError, FirmwareState, Surroundings};
pub use memory_map::MemoryMap;
pub use registers::{Entry, EntryError};
pub use saved_vcpu::SavedVcpu;
pub use tables::{Tables, TablesError};
pub use vcpu_state::VcpuState;

use crate::kvm::KvmError;

/// What the host's KVM must be able to do besides what every architecture needs.
pub(crate) const NEEDED: &[Cap] = &[Cap::DeviceCtrl, Cap::OneReg, Cap::ArmPsci02];

/// What a part consists of that cannot be made yet: so there is none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Unbuilt {}

/// What every part says that is still to be built.
fn not_built() -> KvmError {
    KvmError::NotBuilt("aarch64")
}
