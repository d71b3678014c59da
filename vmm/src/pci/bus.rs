//! Slots, and the map of what the functions decode.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::config::{BARS, touches_decoding};
use super::function::SLOTS;
use super::{ConfigState, HostBridge, PciFunction, Slot, WINDOW_BASE, WINDOW_SIZE};
use crate::virtio::Guarded;

/// The bits of the address register that can be written (PCI 3.0, 3.2.2.3.2).
const ADDRESS_MASK: u32 = !0x7f00_0003;

/// Why something could not be put on the bus.
#[derive(Debug, thiserror::Error)]
pub enum PciError {
    /// Something is in the slot already.
    #[error("PCI slot {0} is taken")]
    SlotTaken(u8),
    /// All slots are taken.
    #[error("all 32 PCI slots are taken")]
    NoSlot,
    /// The window is too small for all BARs.
    #[error("no room for a BAR of {size:#x} bytes in the PCI window")]
    WindowFull {
        /// Size of the BAR.
        size: u64,
    },
    /// A resource of the host is missing.
    #[error("{what}: {source}")]
    Host {
        /// What was being done.
        what: &'static str,
        /// What the host answered.
        source: io::Error,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Route {
    start: u64,
    size: u64,
    slot: Slot,
    bar: usize,
}

#[derive(Default)]
struct Slots {
    functions: [Option<Arc<dyn PciFunction>>; SLOTS],
    /// Sorted by start, without overlaps, all within the window.
    routes: Vec<Route>,
    /// Where the next BAR of the power-on layout goes.
    next: u64,
}

/// Bus 0.
///
/// Lock order: the slots' lock is never held while a function is called for an access; it is held
/// while functions are told of their routes.
pub struct PciBus {
    slots: RwLock<Slots>,
    bridge: Arc<HostBridge>,
    /// The address register of the configuration ports.
    pub(super) address: Guarded<u32>,
}

/// What the bus itself remembers, without the functions in its slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciBusState {
    /// The host bridge.
    bridge: ConfigState,
    /// The address register of the configuration ports.
    address: u32,
}

impl Default for PciBus {
    fn default() -> Self {
        Self::new()
    }
}

impl PciBus {
    /// A bus with the host bridge in slot 0.
    pub fn new() -> Self {
        let mut slots = Slots {
            next: WINDOW_BASE,
            ..Slots::default()
        };
        let bridge = Arc::new(HostBridge::new());
        slots.functions[0] = Some(Arc::clone(&bridge) as _);
        Self {
            slots: RwLock::new(slots),
            bridge,
            address: Guarded::new(0),
        }
    }

    /// The lowest free slot.
    ///
    /// # Errors
    /// There is none.
    pub fn free_slot(&self) -> Result<Slot, PciError> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let free = slots.functions.iter().position(Option::is_none);
        free.and_then(|n| u8::try_from(n).ok())
            .and_then(Slot::new)
            .ok_or(PciError::NoSlot)
    }

    /// Puts a function into a slot, its BARs placed and decoded as firmware would leave them.
    ///
    /// # Errors
    /// The slot is taken or the window full.
    pub fn add(&self, function: Arc<dyn PciFunction>, slot: Slot) -> Result<(), PciError> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let place = &slots.functions[usize::from(slot.0)];
        if place.is_some() {
            return Err(PciError::SlotTaken(slot.0));
        }
        slots.next = place_bars(function.as_ref(), slots.next)?;
        slots.functions[usize::from(slot.0)] = Some(function);
        slots.remap();
        Ok(())
    }

    /// Puts a function into a slot while the guest runs: its BARs are nowhere until the guest places them.
    ///
    /// # Errors
    /// The slot is taken.
    pub fn insert(&self, function: Arc<dyn PciFunction>, slot: Slot) -> Result<(), PciError> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let place = &mut slots.functions[usize::from(slot.0)];
        if place.is_some() {
            return Err(PciError::SlotTaken(slot.0));
        }
        *place = Some(function);
        slots.remap();
        Ok(())
    }

    /// Takes a function out of its slot, in which there is nothing afterwards. An access that another vCPU has begun
    /// may still reach the function.
    pub fn remove(&self, slot: Slot) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let Some(function) = slots.functions[usize::from(slot.0)].take() else {
            return;
        };
        for route in slots.routes.iter().filter(|route| route.slot == slot) {
            function.routed(route.bar, None);
        }
        slots.remap();
    }

    /// Resets every function and lays the BARs out anew, in the order of slots.
    ///
    /// # Errors
    /// The window is full: impossible if everything fitted when it was added.
    pub fn reset(&self) -> Result<(), PciError> {
        *self.address.lock() = 0;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let functions: Vec<_> = slots.functions.iter().flatten().cloned().collect();
        let mut next = WINDOW_BASE;
        for function in functions {
            function.reset();
            next = place_bars(function.as_ref(), next)?;
        }
        slots.next = next;
        slots.remap();
        Ok(())
    }

    /// What the bus itself remembers, for saving.
    pub fn state(&self) -> PciBusState {
        PciBusState {
            bridge: self.bridge.state(),
            address: *self.address.lock(),
        }
    }

    /// Takes over what [`Self::state`] gave. The functions are restored by themselves; then comes
    /// [`Self::remap`].
    pub fn restore(&self, state: &PciBusState) {
        self.bridge.restore(&state.bridge);
        self.set_address(state.address);
    }

    /// The guest wrote the address register of the configuration ports.
    pub(super) fn set_address(&self, address: u32) {
        *self.address.lock() = address & ADDRESS_MASK;
    }

    /// Routes as the registers say: after functions' configuration was restored.
    pub fn remap(&self) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).remap();
    }

    /// Reads configuration space; all ones where there is no function.
    pub fn config_read(&self, slot: Slot, offset: u16, data: &mut [u8]) {
        match self.function(slot) {
            Some(function) => function.config_read(offset, data),
            None => data.fill(0xff),
        }
    }

    /// Writes configuration space and follows what it changes of the BARs.
    pub fn config_write(&self, slot: Slot, offset: u16, data: &[u8]) {
        let Some(function) = self.function(slot) else {
            return;
        };
        function.config_write(offset, data);
        if touches_decoding(offset, data.len()) {
            self.remap();
        }
    }

    /// Reads at a guest physical address of the window; all ones where nothing is decoded.
    pub fn memory_read(&self, address: u64, data: &mut [u8]) {
        match self.route(address, data.len()) {
            Some((function, bar, offset)) => function.bar_read(bar, offset, data),
            None => data.fill(0xff),
        }
    }

    /// Writes at a guest physical address of the window.
    pub fn memory_write(&self, address: u64, data: &[u8]) {
        if let Some((function, bar, offset)) = self.route(address, data.len()) {
            function.bar_write(bar, offset, data);
        }
    }

    fn function(&self, slot: Slot) -> Option<Arc<dyn PciFunction>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.functions.get(usize::from(slot.0)).cloned().flatten()
    }

    fn route(&self, address: u64, len: usize) -> Option<(Arc<dyn PciFunction>, usize, u64)> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let behind = slots.routes.partition_point(|route| route.start <= address);
        let route = slots.routes.get(behind.checked_sub(1)?)?;
        let offset = address - route.start;
        let end = offset.checked_add(len as u64)?;
        if end > route.size {
            return None;
        }
        let function = slots.functions.get(usize::from(route.slot.0))?.clone()?;
        Some((function, route.bar, offset))
    }
}

impl Slots {
    /// Recomputes the routes. A BAR that leaves the window or overlaps another one's route is not
    /// routed: RAM, firmware and the interrupt controllers cannot be covered, and of two BARs at one
    /// place the lower slot answers.
    fn remap(&mut self) {
        let mut routes: Vec<Route> = Vec::with_capacity(self.routes.len());
        let mut changes = Vec::new();
        for (number, function) in (0..).zip(&self.functions) {
            let Some(function) = function else { continue };
            let slot = Slot(number);
            for bar in 0..BARS {
                let route = function
                    .decoded(bar)
                    .map(|(start, size)| Route {
                        start,
                        size,
                        slot,
                        bar,
                    })
                    .filter(|new| new.in_window() && !routes.iter().any(|old| old.overlaps(new)));
                let before = self.routes.iter().find(|old| old.slot == slot && old.bar == bar);
                if route.as_ref() != before {
                    changes.push((Arc::clone(function), bar, before.copied(), route));
                }
                routes.extend(route);
            }
        }
        routes.sort_unstable_by_key(|route| route.start);
        self.routes = routes;
        // First everything that goes, so that doorbells never meet at one address.
        for (function, bar, before, _) in &changes {
            if before.is_some() {
                function.routed(*bar, None);
            }
        }
        for (function, bar, _, after) in &changes {
            if let Some(route) = after {
                function.routed(*bar, Some(route.start));
            }
        }
    }
}

impl Route {
    fn in_window(&self) -> bool {
        let end = self.start.checked_add(self.size);
        self.start >= WINDOW_BASE && end.is_some_and(|end| end <= WINDOW_BASE + WINDOW_SIZE)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start < other.start + other.size && other.start < self.start + self.size
    }
}

fn place_bars(function: &dyn PciFunction, from: u64) -> Result<u64, PciError> {
    let mut next = from;
    for index in 0..BARS {
        let Some(size) = function.bar_size(index) else {
            continue;
        };
        let start = next.next_multiple_of(size);
        next = start + size;
        if next > WINDOW_BASE + WINDOW_SIZE {
            return Err(PciError::WindowFull { size });
        }
        function.place_bar(index, start);
    }
    Ok(next)
}

#[cfg(test)]
mod tests;
