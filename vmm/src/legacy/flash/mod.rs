//! The flash chip that holds UEFI's variables: 8 bits wide, blocks of 4 KiB, the commands of Intel's parallel
//! flashes (JEDEC JESD68, common flash interface; command set 0x0001), as QEMU's `pflash_cfi01` answers them.
//!
//! ```text
//!            0xff: array
//!  +---------------------------+
//!  v                           |
//!  array: the guest reads memory, without an exit         0x70 ──> status
//!  any write leaves the guest: a command ───────────────> 0x10, 0x40, then a byte: programmed, status
//!                                                         0x20, then 0xd0: block erased, status
//!                                                         0x90 ──> identity    0x98 ──> query
//! ```
//!
//! What is programmed is in the chip's file before the guest's next instruction, and on the host's disk once the
//! guest reads the array again. Programming clears bits, erasing a block sets all of its.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod chip;
mod query;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vm_memory::{GuestAddress, GuestMemoryError};

use crate::bus::BusDevice;
use crate::kvm::memory_slots::ReadOnlyMemory;
use crate::memory::GuestMemory;
use chip::Chip;

/// Bytes of a block, which is erased as a whole.
pub const BLOCK: u64 = 4096;

/// The chip is ready: something was done since the status was cleared.
const READY: u8 = 1 << 7;
/// The block could not be erased, or the sequence of commands was none.
const ERASE_FAILED: u8 = 1 << 5;
/// The byte could not be programmed.
const PROGRAM_FAILED: u8 = 1 << 4;

/// Where the guest reads the array without leaving, while it may.
pub trait Window: Send + Sync {
    /// Opens it, or closes it: then each access leaves the guest. `false`: the host refuses.
    fn set_open(&self, open: bool) -> bool;
}

impl Window for ReadOnlyMemory {
    fn set_open(&self, open: bool) -> bool {
        let done = if open { self.show() } else { self.hide() };
        done.inspect_err(|refusal| tracing::error!("the flash's memory: {refusal}"))
            .is_ok()
    }
}

/// What the next access means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Reading shows the array.
    Array,
    /// Reading shows the status.
    Status,
    /// Reading shows who made the chip.
    Identity,
    /// Reading shows what it can do.
    Query,
    /// What is written next is programmed.
    Program,
    /// What is written next confirms that a block is to be erased.
    Erase,
}

/// What the chip remembers besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlashState {
    mode: Mode,
    status: u8,
}

impl FlashState {
    const POWER_ON: Self = Self {
        mode: Mode::Array,
        status: READY,
    };
}

/// The chip.
pub struct Flash {
    /// Guards the state, and that the window is open as it says.
    now: Mutex<Now>,
    chip: Chip,
    window: Box<dyn Window>,
}

struct Now {
    state: FlashState,
    is_open: bool,
}

impl Flash {
    /// A chip of `len` bytes, a multiple of [`BLOCK`], that `memory` has at `base`; its bytes are those of `file`, which
    /// takes what is programmed. The window is closed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn new(
        memory: GuestMemory,
        base: u64,
        len: u64,
        file: File,
        window: Box<dyn Window>,
    ) -> Result<Self, GuestMemoryError> {
        let flash = Self {
            now: Mutex::new(Now {
                state: FlashState::POWER_ON,
                is_open: false,
            }),
            chip: Chip::new(memory, GuestAddress(base), len, file)?,
            window,
        };
        flash.reset();
        Ok(flash)
    }

    /// As at power-on: the array is read.
    pub fn reset(&self) {
        self.enter(&mut self.lock(), FlashState::POWER_ON);
    }

    /// What the chip remembers, for saving.
    pub fn state(&self) -> FlashState {
        self.lock().state
    }

    /// Takes over what [`Self::state`] gave.
    pub fn restore(&self, state: FlashState) {
        self.enter(&mut self.lock(), state);
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes over into `state`, with the window as it must be.
    fn enter(&self, now: &mut Now, state: FlashState) {
        now.state = state;
        let is_array = state.mode == Mode::Array;
        if is_array {
            self.chip.sync();
        }
        if now.is_open != is_array && self.window.set_open(is_array) {
            now.is_open = is_array;
        }
    }

    /// What follows on the write of `data`.
    fn next(&self, state: FlashState, offset: u64, data: &[u8]) -> FlashState {
        let command = data.first().copied().unwrap_or(0xff);
        let status_with = |bits| FlashState {
            mode: Mode::Status,
            status: state.status | READY | bits,
        };
        match (state.mode, command) {
            (Mode::Program, _) if self.chip.program(offset, data) => status_with(0),
            (Mode::Program, _) => status_with(PROGRAM_FAILED),
            (Mode::Erase, 0xd0) if self.chip.erase(offset) => status_with(0),
            (Mode::Erase, 0xd0) => status_with(ERASE_FAILED),
            (Mode::Erase, other) if other != 0xff => status_with(ERASE_FAILED | PROGRAM_FAILED),
            (_, 0x50) => FlashState {
                mode: Mode::Array,
                status: 0,
            },
            (_, command) => FlashState {
                mode: match command {
                    0x10 | 0x40 => Mode::Program,
                    0x20 | 0x28 => Mode::Erase,
                    0x70 => Mode::Status,
                    0x90 => Mode::Identity,
                    0x98 => Mode::Query,
                    _ => Mode::Array,
                },
                ..state
            },
        }
    }
}

impl BusDevice for Flash {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let state = self.lock().state;
        match state.mode {
            Mode::Array => self.chip.read(offset, data),
            Mode::Status | Mode::Program | Mode::Erase => data.fill(state.status),
            Mode::Identity => query::identity(offset, data),
            Mode::Query => query::answer(self.chip.len(), offset, data),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let mut now = self.lock();
        let next = self.next(now.state, offset, data);
        self.enter(&mut now, next);
    }
}
