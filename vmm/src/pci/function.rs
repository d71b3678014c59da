//! A function in a slot, as the bus sees it.

use serde::{Deserialize, Serialize};

/// Devices on bus 0, each with one function.
pub(super) const SLOTS: usize = 32;

/// A device number on bus 0. Slot 0 is the host bridge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(super) u8);

impl Slot {
    /// Slot `number`, below 32.
    pub fn new(number: u8) -> Option<Self> {
        (usize::from(number) < SLOTS).then_some(Self(number))
    }

    /// The device number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The requester id of function 0 in this slot.
    pub fn requester(self) -> Requester {
        Requester(u16::from(self.0) << 3)
    }
}

/// Some of the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotSet(u32);

impl SlotSet {
    /// Those whose bits are set.
    pub fn of_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Bit *n* for slot *n*.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Adds a slot.
    pub fn insert(&mut self, slot: Slot) {
        self.0 |= 1 << slot.0;
    }

    /// Whether a slot is among them.
    pub fn contains(self, slot: Slot) -> bool {
        self.0 >> slot.0 & 1 == 1
    }

    /// What is in both.
    pub fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// They, from the lowest on.
    pub fn iter(self) -> impl Iterator<Item = Slot> {
        (0..SLOTS as u8)
            .map(Slot)
            .filter(move |slot| self.contains(*slot))
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = Self::default();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

/// Bus, device and function of who sends a message, as 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requester(pub u16);

/// A PCI function in a slot. Offsets and lengths come from the guest; implementations accept any.
///
/// One that says nothing of base address registers (BARs) has none.
pub trait PciFunction: Send + Sync {
    /// Reads configuration space.
    fn config_read(&self, offset: u16, data: &mut [u8]);

    /// Writes configuration space.
    fn config_write(&self, offset: u16, data: &[u8]);

    /// Address and size of BAR `index` if it exists and is decoded.
    fn decoded(&self, _index: usize) -> Option<(u64, u64)> {
        None
    }

    /// Size of BAR `index`, if it exists.
    fn bar_size(&self, _index: usize) -> Option<u64> {
        None
    }

    /// Firmware's work at power-on: puts BAR `index` at `address` and enables memory decoding.
    fn place_bar(&self, _index: usize, _address: u64) {}

    /// BAR `index` is routed at `address` from now on, or nowhere. Called after every change.
    fn routed(&self, _index: usize, _address: Option<u64>) {}

    /// Reads within BAR `index`; `offset + data.len()` is within its size.
    fn bar_read(&self, _index: usize, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    /// Writes within BAR `index`; `offset + data.len()` is within its size.
    fn bar_write(&self, _index: usize, _offset: u64, _data: &[u8]) {}

    /// Back to the state after power-on. On return the function neither writes memory nor interrupts.
    fn reset(&self);
}
