//! Configuration space of a type 0 function (PCI 3.0, chapter 6).
//!
//! Each register byte has a mask of the bits that the guest may write. BAR sizing follows from the masks
//! alone: the address bits below the size are read-only zero, so all ones written read back as the size.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize};

/// Bytes of a conventional configuration space; what is behind it reads as zero.
const LEN: usize = 256;
/// Most BARs of a type 0 function.
pub(super) const BARS: usize = 6;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BAR0: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const FIRST_CAPABILITY: usize = 0x40;

/// Command: decode memory BARs.
const MEMORY_SPACE: u16 = 1 << 1;
/// Command: may write memory and send messages.
const BUS_MASTER: u16 = 1 << 2;
/// Command: no INTx. Memory, master, parity and SERR, INTx are writable; there are no port BARs.
const COMMAND_MASK: u16 = MEMORY_SPACE | BUS_MASTER | 1 << 6 | 1 << 8 | 1 << 10;
/// Status: there is a capability list.
const HAS_CAPABILITIES: u16 = 1 << 4;

/// Who a function says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Revision id.
    pub revision: u8,
    /// Class code: base class, subclass, programming interface from the top byte down.
    pub class: u32,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
}

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// Memory below 4 GiB, not prefetchable.
    Memory32,
    /// Memory anywhere, not prefetchable; takes two registers.
    Memory64,
}

#[derive(Clone, Copy, Debug)]
struct Bar {
    kind: BarKind,
    size: u64,
}

/// A capability to be put into the list: its id and what follows id and next pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Capability id.
    pub id: u8,
    /// Bytes from offset 2 of the capability on.
    pub body: Vec<u8>,
    /// For each byte of `body`, the bits that the guest may write; missing ones are 0.
    pub writable: Vec<u8>,
}

/// What the guest can change of a configuration space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigState {
    /// The 256 register bytes.
    pub registers: Vec<u8>,
}

/// The registers of one function.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    registers: [u8; LEN],
    writable: [u8; LEN],
    initial: [u8; LEN],
    bars: [Option<Bar>; BARS],
    /// Where the next capability goes, and where the pointer to it is.
    next_capability: usize,
    last_pointer: usize,
}

impl ConfigSpace {
    /// A configuration space with an identity, no BARs and no capabilities.
    pub fn new(identity: Identity) -> Self {
        let mut space = Self {
            registers: [0; LEN],
            writable: [0; LEN],
            initial: [0; LEN],
            bars: [None; BARS],
            next_capability: FIRST_CAPABILITY,
            last_pointer: CAPABILITIES,
        };
        space.put(0x00, &identity.vendor.to_le_bytes());
        space.put(0x02, &identity.device.to_le_bytes());
        space.put(0x08, &[identity.revision]);
        let [interface, subclass, class, _] = identity.class.to_le_bytes();
        space.put(0x09, &[interface, subclass, class]);
        space.put(0x2c, &identity.subsystem_vendor.to_le_bytes());
        space.put(0x2e, &identity.subsystem.to_le_bytes());
        space.allow(COMMAND, &COMMAND_MASK.to_le_bytes());
        space.allow(INTERRUPT_LINE, &[0xff]);
        space.initial = space.registers;
        space
    }

    /// Declares BAR `index` with a `size` that is a power of two, at least 16 bytes.
    ///
    /// Without effect if the size is none, or the registers are taken: that is a mistake of the caller
    /// which [`bar`](Self::bar) then shows as absent.
    pub fn add_bar(&mut self, index: usize, kind: BarKind, size: u64) {
        let registers = match kind {
            BarKind::Memory32 => 1,
            BarKind::Memory64 => 2,
        };
        let fits = index.checked_add(registers).is_some_and(|end| end <= BARS);
        let small = kind == BarKind::Memory64 || size <= 1 << 31;
        if !fits || !small || !size.is_power_of_two() || size < 16 {
            return;
        }
        let mask = size.wrapping_sub(1);
        let address = !mask;
        let [a, b, c, d, high @ ..] = address.to_le_bytes();
        let at = bar_register(index);
        self.allow(at, &[a, b, c, d]);
        if kind == BarKind::Memory64 {
            self.allow(at.saturating_add(4), &high);
            self.put(at, &[0b100]);
        }
        self.initial = self.registers;
        if let Some(bar) = self.bars.get_mut(index) {
            *bar = Some(Bar { kind, size });
        }
    }

    /// Appends a capability and returns its offset; `None` if there is no room.
    pub fn add_capability(&mut self, capability: &Capability) -> Option<u8> {
        let at = self.next_capability;
        let body = at.checked_add(2)?;
        let end = body.checked_add(capability.body.len())?;
        if end > LEN {
            return None;
        }
        let offset = u8::try_from(at).ok()?;
        self.put(at, &[capability.id, 0]);
        self.put(body, &capability.body);
        self.allow(body, &capability.writable);
        let pointer = self.last_pointer;
        self.put(pointer, &[offset]);
        self.put(STATUS, &HAS_CAPABILITIES.to_le_bytes());
        self.last_pointer = at.checked_add(1)?;
        self.next_capability = end.next_multiple_of(4);
        self.initial = self.registers;
        Some(offset)
    }

    /// Lets the guest write the bits of `mask` from `offset` on: registers outside the standard header.
    pub fn allow(&mut self, offset: usize, mask: &[u8]) {
        for (to, bits) in self.writable.iter_mut().skip(offset).zip(mask) {
            *to |= bits;
        }
    }

    /// Reads the registers; behind the last one there is nothing but zeroes.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        data.fill(0);
        for (to, byte) in data.iter_mut().zip(self.registers.iter().skip(offset.into())) {
            *to = *byte;
        }
    }

    /// Writes what may be written of the registers.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        let skip = usize::from(offset);
        let targets = self.registers.iter_mut().zip(self.writable).skip(skip);
        for ((register, mask), byte) in targets.zip(data) {
            *register = *register & !mask | byte & mask;
        }
    }

    /// The device's own change of registers, whatever the guest may write.
    pub fn put(&mut self, offset: usize, data: &[u8]) {
        for (to, byte) in self.registers.iter_mut().skip(offset).zip(data) {
            *to = *byte;
        }
    }

    /// True if memory BARs are decoded.
    pub fn memory_enabled(&self) -> bool {
        self.word(COMMAND) & MEMORY_SPACE != 0
    }

    /// True if the function may send messages.
    pub fn bus_master(&self) -> bool {
        self.word(COMMAND) & BUS_MASTER != 0
    }

    /// Address and size of BAR `index` as its registers say, decoded or not.
    pub fn bar(&self, index: usize) -> Option<(u64, u64)> {
        let bar = (*self.bars.get(index)?)?;
        let at = bar_register(index);
        let low = u64::from(self.double_word(at)) & !0xf;
        let high = match bar.kind {
            BarKind::Memory32 => 0,
            BarKind::Memory64 => u64::from(self.double_word(at.saturating_add(4))),
        };
        Some((high << 32 | low, bar.size))
    }

    /// Puts BAR `index` at `address`, as firmware does before an operating system starts.
    pub fn place_bar(&mut self, index: usize, address: u64) {
        let at = u16::try_from(bar_register(index)).unwrap_or(u16::MAX);
        let width = match self.bars.get(index).copied().flatten() {
            Some(Bar {
                kind: BarKind::Memory64,
                ..
            }) => 8,
            Some(_) => 4,
            None => 0,
        };
        self.write(at, address.to_le_bytes().get(..width).unwrap_or_default());
    }

    /// Sets the command register so that memory is decoded and messages are sent.
    pub fn enable(&mut self) {
        let command = self.word(COMMAND) | MEMORY_SPACE | BUS_MASTER;
        self.put(COMMAND, &command.to_le_bytes());
    }

    /// Everything as after power-on: BARs at 0, nothing decoded.
    pub fn reset(&mut self) {
        self.registers = self.initial;
    }

    /// What the guest changed.
    pub fn state(&self) -> ConfigState {
        ConfigState {
            registers: self.registers.to_vec(),
        }
    }

    /// Takes over the guest's changes. Read-only bits of a state are ignored, so that a hostile one can
    /// do no more than a guest.
    pub fn restore(&mut self, state: &ConfigState) {
        self.reset();
        self.write(0, &state.registers);
    }

    fn word(&self, offset: usize) -> u16 {
        let mut bytes = [0; 2];
        for (to, byte) in bytes.iter_mut().zip(self.registers.iter().skip(offset)) {
            *to = *byte;
        }
        u16::from_le_bytes(bytes)
    }

    fn double_word(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        for (to, byte) in bytes.iter_mut().zip(self.registers.iter().skip(offset)) {
            *to = *byte;
        }
        u32::from_le_bytes(bytes)
    }
}

/// True if an access at `offset` of `len` bytes reaches command register or BARs, so that decoding may
/// have changed.
pub(super) fn touches_decoding(offset: u16, len: usize) -> bool {
    let start = usize::from(offset);
    let end = start.saturating_add(len);
    let overlaps = |from: usize, to: usize| start < to && end > from;
    overlaps(COMMAND, STATUS) || overlaps(BAR0, bar_register(BARS))
}

fn bar_register(index: usize) -> usize {
    index.saturating_mul(4).saturating_add(BAR0)
}

#[cfg(test)]
mod tests;
