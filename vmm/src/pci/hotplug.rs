//! Hot-plug of slots: the registers by which the guest's ACPI methods learn which slots were filled and which function is
//! to be let go of, and by which it lets go. They are those of QEMU (`docs/specs/acpi_pci_hotplug`), of one bus.
//!
//! ```text
//!  offset 0  inserted  slots that were filled since the last look; reading clears it
//!         4  asked     slots whose function the guest is asked to let go of, until it has
//!         8  eject     written: the slots that it lets go of
//! ```
//!
//! Bit *n* is slot *n*. Only whole registers are read and written; anything else reads as zero and writes nothing. A
//! guest lets go of nothing that it was not asked for: what it writes for other slots is ignored, so that whether a
//! disk is there is for the host to say.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::{Slot, SlotSet};
use crate::bus::BusDevice;
use crate::virtio::Guarded;

/// Number of ports.
pub const LEN: u64 = 12;
/// Offset of the slots that were filled.
pub const INSERTED: u64 = 0;
/// Offset of the slots that are asked for.
pub const ASKED: u64 = 4;
/// Offset of the slots that are let go of.
pub const EJECT: u64 = 8;

/// What raises the event that has the guest look at the registers.
pub type Bell = Arc<dyn Fn() + Send + Sync>;
/// Who takes the function out of a slot that the guest has let go of. The guest runs no further than the access before
/// it returns.
pub type Ejector = Arc<dyn Fn(Slot) + Send + Sync>;

/// What the registers hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HotplugState {
    inserted: SlotSet,
    asked: SlotSet,
}

/// The registers.
pub struct Hotplug {
    state: Guarded<HotplugState>,
    bell: Bell,
    ejector: OnceLock<Ejector>,
}

impl Hotplug {
    /// Registers that ring `bell` when there is something to see in them.
    pub fn new(bell: Bell) -> Self {
        Self {
            state: Guarded::default(),
            bell,
            ejector: OnceLock::new(),
        }
    }

    /// Says who takes functions out. The first one stays.
    pub fn serve(&self, ejector: Ejector) {
        // Called once, as the machine is put together.
        let _ = self.ejector.set(ejector);
    }

    /// A slot was filled: the guest is told to look. What was asked for of it before is not asked for any more.
    pub fn insert(&self, slot: Slot) {
        let mut state = self.state.lock();
        state.asked = state.asked.without([slot].into_iter().collect());
        state.inserted.insert(slot);
        drop(state);
        (self.bell)();
    }

    /// Asks the guest to let go of what is in a slot; asked again, it is told again.
    pub fn ask(&self, slot: Slot) {
        self.state.lock().asked.insert(slot);
        (self.bell)();
    }

    /// The slots that the guest is asked for.
    pub fn asked(&self) -> SlotSet {
        self.state.lock().asked
    }

    /// As at power-on: nothing is news, nothing is asked for.
    pub fn reset(&self) {
        *self.state.lock() = HotplugState::default();
    }

    /// What the registers hold, for saving.
    pub fn state(&self) -> HotplugState {
        *self.state.lock()
    }

    /// Takes over what [`Self::state`] gave. The event that tells of it is the power management block's.
    pub fn restore(&self, state: &HotplugState) {
        *self.state.lock() = *state;
    }
}

impl BusDevice for Hotplug {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut state = self.state.lock();
        let value = match (offset, data.len()) {
            (INSERTED, 4) => std::mem::take(&mut state.inserted),
            (ASKED, 4) => state.asked,
            _ => SlotSet::default(),
        };
        data.fill(0);
        for (to, byte) in data.iter_mut().zip(value.bits().to_le_bytes()) {
            *to = byte;
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let (EJECT, &[a, b, c, d]) = (offset, data) else {
            return;
        };
        let written = SlotSet::of_bits(u32::from_le_bytes([a, b, c, d]));
        // Each is taken once, whoever else writes at the same time.
        let mut state = self.state.lock();
        let ejected = written.both(state.asked);
        state.asked = state.asked.without(ejected);
        state.inserted = state.inserted.without(ejected);
        drop(state);
        if let Some(ejector) = self.ejector.get() {
            ejected.iter().for_each(|slot| ejector(slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::*;

    struct Bench {
        registers: Hotplug,
        rings: Arc<AtomicU32>,
        ejected: Arc<Mutex<Vec<u8>>>,
    }

    fn bench() -> Bench {
        let (rings, ejected) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (rung, seen) = (Arc::clone(&rings), Arc::clone(&ejected));
        let registers = Hotplug::new(Arc::new(move || {
            rung.fetch_add(1, Ordering::SeqCst);
        }));
        registers.serve(Arc::new(move |slot: Slot| {
            seen.lock().unwrap().push(slot.number())
        }));
        Bench {
            registers,
            rings,
            ejected,
        }
    }

    fn slot(number: u8) -> Slot {
        Slot::new(number).unwrap()
    }

    fn get(registers: &Hotplug, offset: u64) -> u32 {
        let mut data = [0xff; 4];
        registers.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn a_filled_slot_is_told_once_and_one_that_is_asked_for_until_it_is_let_go_of() {
        let Bench {
            registers,
            rings,
            ejected,
        } = bench();
        registers.insert(slot(4));
        registers.insert(slot(30));
        assert_eq!(get(&registers, INSERTED), 1 << 4 | 1 << 30);
        assert_eq!(get(&registers, INSERTED), 0, "reading clears it");
        registers.ask(slot(4));
        registers.ask(slot(4));
        assert_eq!(rings.load(Ordering::SeqCst), 4, "asked again it is told again");
        assert_eq!((get(&registers, ASKED), get(&registers, ASKED)), (1 << 4, 1 << 4));
        registers.write(EJECT, &(1u32 << 4).to_le_bytes());
        assert_eq!(get(&registers, ASKED), 0);
        assert_eq!(*ejected.lock().unwrap(), [4]);
    }

    #[test]
    fn hazard_a_guest_lets_go_of_nothing_that_it_was_not_asked_for() {
        let Bench {
            registers, ejected, ..
        } = bench();
        registers.insert(slot(2));
        registers.ask(slot(3));
        registers.write(EJECT, &[0xff; 4]);
        registers.write(EJECT, &[0xff; 4]);
        assert_eq!(*ejected.lock().unwrap(), [3], "once, and no other");
        registers.ask(slot(5));
        registers.reset();
        registers.write(EJECT, &[0xff; 4]);
        assert_eq!(*ejected.lock().unwrap(), [3], "a reset forgets what was asked");
    }

    #[test]
    fn what_the_registers_hold_is_saved() {
        let saved = bench().registers;
        saved.insert(slot(6));
        saved.ask(slot(7));
        let text = serde_json::to_string(&saved.state()).unwrap();
        let fresh = bench().registers;
        fresh.restore(&serde_json::from_str(&text).unwrap());
        assert_eq!((get(&fresh, ASKED), get(&fresh, INSERTED)), (1 << 7, 1 << 6));
    }

    proptest! {
        #[test]
        fn hazard_any_accesses_let_go_of_what_was_asked_for_once_at_most(
            accesses in prop::collection::vec((0..LEN + 4, prop::collection::vec(any::<u8>(), 1..=8), any::<bool>()), 0..64),
            asked in any::<u32>(),
        ) {
            let Bench { registers, ejected, .. } = bench();
            let asked = SlotSet::of_bits(asked);
            asked.iter().for_each(|slot| registers.ask(slot));
            for (offset, bytes, writes) in accesses {
                if writes {
                    registers.write(offset, &bytes);
                } else {
                    registers.read(offset, &mut bytes.clone());
                }
            }
            let mut ejected = ejected.lock().unwrap().clone();
            let all = ejected.len();
            ejected.sort_unstable();
            ejected.dedup();
            prop_assert_eq!(ejected.len(), all);
            prop_assert!(ejected.iter().all(|number| asked.contains(slot(*number))));
        }
    }
}
