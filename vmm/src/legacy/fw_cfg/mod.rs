//! The device by which firmware learns of its machine: QEMU's fw_cfg (`docs/specs/fw_cfg.rst`).
//!
//! ```text
//!  port +0   select an item (16 bits)        [directory]: items by key, files by name
//!  port +1   its next byte
//!  port +4   address of a request, big-endian: the upper half, then the lower, which starts it    [dma]
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod directory;
mod dma;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub use directory::Directory;

use super::Unfit;
use crate::bus::BusDevice;
use crate::memory::GuestMemory;

/// Number of ports.
pub const LEN: u64 = 12;

/// What the address register reads as: that there are requests by DMA.
const DMA_SIGNATURE: [u8; 8] = *b"QEMU CFG";
/// Offset of the address register.
const DMA: u64 = 4;

/// The device.
pub struct FwCfg {
    /// What there is at power-on.
    pristine: Directory,
    /// Guards what the guest changes: held while a request is served, so that they come one after the other.
    now: Mutex<Now>,
    memory: GuestMemory,
}

/// What the guest changes.
#[derive(Debug)]
struct Now {
    directory: Directory,
    selected: u16,
    /// Of the next byte.
    offset: usize,
    /// The upper half of the address.
    high: u32,
}

/// What the device remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FwCfgState {
    selected: u16,
    offset: u64,
    high: u32,
    /// The files that the guest may write: by name.
    written: Vec<(String, Vec<u8>)>,
}

impl FwCfg {
    /// The device with the items of `directory`; requests come from and go to `memory`.
    pub fn new(directory: Directory, memory: GuestMemory) -> Self {
        let now = Mutex::new(Now::new(directory.clone()));
        Self {
            pristine: directory,
            now,
            memory,
        }
    }

    /// The file `name` as it is now.
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        self.lock().directory.file(name).map(<[u8]>::to_vec)
    }

    /// As at power-on.
    pub fn reset(&self) {
        *self.lock() = Now::new(self.pristine.clone());
    }

    /// What the device remembers, for saving.
    pub fn state(&self) -> FwCfgState {
        let now = self.lock();
        FwCfgState {
            selected: now.selected,
            offset: now.offset as u64,
            high: now.high,
            written: now.directory.written(),
        }
    }

    /// Takes over what [`Self::state`] gave.
    ///
    /// # Errors
    /// It has files that the guest cannot have written.
    pub fn restore(&self, state: &FwCfgState) -> Result<(), Unfit> {
        let mut restored = Now::new(self.pristine.clone());
        restored.selected = state.selected;
        restored.offset = usize::try_from(state.offset).unwrap_or(usize::MAX);
        restored.high = state.high;
        for (name, bytes) in &state.written {
            if !restored.directory.rewrite(name, bytes) {
                return Err(Unfit::new("firmware configuration", format!("its file {name}")));
            }
        }
        *self.lock() = restored;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    fn new(directory: Directory) -> Self {
        Self {
            directory,
            selected: 0,
            offset: 0,
            high: 0,
        }
    }

    fn select(&mut self, key: u16) {
        (self.selected, self.offset) = (key, 0);
    }

    /// What is left of the selected item; nothing of one that does not exist.
    fn rest(&self) -> &[u8] {
        let item = self.directory.item(self.selected);
        item.get(self.offset..).unwrap_or_default()
    }

    fn skip(&mut self, len: usize) {
        self.offset = self.offset.saturating_add(len);
    }
}

impl BusDevice for FwCfg {
    fn read(&self, offset: u64, data: &mut [u8]) {
        match (offset, data) {
            (1, [byte]) => {
                let mut now = self.lock();
                *byte = now.rest().first().copied().unwrap_or(0);
                now.skip(1);
            }
            (DMA.., data) => {
                let skip = usize::try_from(offset.saturating_sub(DMA)).unwrap_or(usize::MAX);
                data.fill(0xff);
                for (to, byte) in data.iter_mut().zip(DMA_SIGNATURE.iter().skip(skip)) {
                    *to = *byte;
                }
            }
            (_, data) => data.fill(0xff),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        match (offset, data) {
            (0, &[low, high]) => self.lock().select(u16::from_le_bytes([low, high])),
            (DMA, &[a, b, c, d]) => self.lock().high = u32::from_be_bytes([a, b, c, d]),
            (8, &[a, b, c, d]) => {
                let mut now = self.lock();
                let high = u64::from(std::mem::take(&mut now.high));
                let address = high << 32 | u64::from(u32::from_be_bytes([a, b, c, d]));
                dma::serve(&mut now, &self.memory, address);
            }
            _ => {}
        }
    }
}
