//! Routing of port and memory accesses to devices.
//!
//! A machine has two buses of this kind: ports (x86 only) and guest physical addresses that are not
//! RAM. A range belongs to one device at a time; ranges come and go while the guest runs, as it moves
//! PCI base address registers.
//!
//! An access that touches no device, or leaves the range in which it began, reads as all ones and
//! writes nothing, as on a PC without that device.
//!
//! Lock order: a bus is locked only to find the device, never while the device works; so a device may
//! move ranges on the bus that it was called through.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;

/// What answers at a range of ports or addresses. Many vCPUs call it at once: a device locks its
/// state itself. The guest chooses offset and length: any length from 1 to 8 and any offset within
/// the range occur, aligned or not.
pub trait BusDevice: Send + Sync {
    /// Fills `data` with what the device shows at `offset` from the start of its range.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// Takes `data`, written at `offset` from the start of the range.
    fn write(&self, offset: u64, data: &[u8]);
}

/// A range could not be put on, or taken from, a bus.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BusError {
    /// Length 0, or an end beyond the address space.
    #[error("a bus range at {base:#x} cannot have the length {len:#x}")]
    Length {
        /// First address.
        base: u64,
        /// The length asked for.
        len: u64,
    },
    /// Another range is there already.
    #[error("bus range {base:#x}+{len:#x} overlaps that at {other:#x}")]
    Overlap {
        /// First address.
        base: u64,
        /// The length asked for.
        len: u64,
        /// First address of the range that is in the way.
        other: u64,
    },
    /// No range begins there.
    #[error("no bus range begins at {base:#x}")]
    Absent {
        /// The address given.
        base: u64,
    },
}

struct Range {
    len: u64,
    device: Arc<dyn BusDevice>,
}

/// The devices of one address space by their ranges.
#[derive(Default)]
pub struct Bus {
    /// Guards the map of first address to range.
    ranges: RwLock<BTreeMap<u64, Range>>,
}

impl Bus {
    /// A bus with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `device` at `base..base + len`.
    pub fn insert(&self, base: u64, len: u64, device: Arc<dyn BusDevice>) -> Result<(), BusError> {
        let last = len
            .checked_sub(1)
            .and_then(|span| base.checked_add(span))
            .ok_or(BusError::Length { base, len })?;
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((&other, range)) = ranges.range(..=last).next_back()
            && base.saturating_sub(other) < range.len
        {
            return Err(BusError::Overlap { base, len, other });
        }
        ranges.insert(base, Range { len, device });
        Ok(())
    }

    /// Takes the range that begins at `base` from the bus. An access that is on its way may still
    /// reach the device.
    pub fn remove(&self, base: u64) -> Result<(), BusError> {
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        ranges.remove(&base).map(drop).ok_or(BusError::Absent { base })
    }

    /// Reads at `address` into `data`; all ones where no device is. Tells whether a device answered.
    pub fn read(&self, address: u64, data: &mut [u8]) -> bool {
        match self.find(address, data.len()) {
            Some((offset, device)) => {
                device.read(offset, data);
                true
            }
            None => {
                data.fill(0xff);
                false
            }
        }
    }

    /// Writes `data` at `address`. Tells whether a device was there to take it.
    pub fn write(&self, address: u64, data: &[u8]) -> bool {
        match self.find(address, data.len()) {
            Some((offset, device)) => {
                device.write(offset, data);
                true
            }
            None => false,
        }
    }

    fn find(&self, address: u64, len: usize) -> Option<(u64, Arc<dyn BusDevice>)> {
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner);
        let (&base, range) = ranges.range(..=address).next_back()?;
        let offset = address.checked_sub(base)?;
        let end = offset.checked_add(len as u64)?;
        (end <= range.len).then(|| (offset, Arc::clone(&range.device)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Remembers writes and reads as its offset.
    #[derive(Default)]
    struct Probe(Mutex<Vec<(u64, Vec<u8>)>>);

    impl BusDevice for Probe {
        fn read(&self, offset: u64, data: &mut [u8]) {
            data.fill(offset as u8);
        }
        fn write(&self, offset: u64, data: &[u8]) {
            self.0
                .lock()
                .expect("no holder of this lock panics")
                .push((offset, data.to_vec()));
        }
    }

    #[test]
    fn an_access_reaches_the_device_with_its_offset() {
        let (bus, probe) = (Bus::new(), Arc::new(Probe::default()));
        bus.insert(0x3f8, 8, probe.clone()).expect("the bus is empty");
        let mut byte = [0];
        assert!(bus.read(0x3fd, &mut byte));
        assert_eq!(byte, [5]);
        assert!(bus.write(0x3f8, &[1, 2]));
        assert_eq!(*probe.0.lock().expect("not poisoned"), [(0, vec![1, 2])]);
    }

    #[test]
    fn an_access_without_a_device_reads_ones() {
        let bus = Bus::new();
        bus.insert(0x3f8, 8, Arc::new(Probe::default()))
            .expect("the bus is empty");
        for address in [0, 0x3f7, 0x3ff, 0x400, u64::MAX] {
            let mut word = [0; 2];
            assert!(!bus.read(address, &mut word), "{address:#x}");
            assert_eq!(word, [0xff; 2]);
            assert!(!bus.write(address, &word));
        }
    }

    #[test]
    fn ranges_may_touch_but_not_overlap() {
        let bus = Bus::new();
        let put = |base, len| bus.insert(base, len, Arc::new(Probe::default()));
        put(0x100, 0x10).expect("the bus is empty");
        put(0x110, 0x10).expect("begins where the first ends");
        put(0xf0, 0x10).expect("ends where the first begins");
        for (base, len) in [(0x100, 1), (0x10f, 1), (0xff, 2), (0, 0x1000), (0x11f, 0x10)] {
            assert!(
                matches!(put(base, len), Err(BusError::Overlap { .. })),
                "{base:#x}+{len:#x}"
            );
        }
        assert_eq!(put(5, 0), Err(BusError::Length { base: 5, len: 0 }));
        assert!(matches!(put(u64::MAX, 2), Err(BusError::Length { .. })));
        put(u64::MAX, 1).expect("the last address is an address");
    }

    #[test]
    fn a_range_that_was_removed_can_be_taken_again() {
        let bus = Bus::new();
        bus.insert(0, 4, Arc::new(Probe::default()))
            .expect("the bus is empty");
        bus.remove(0).expect("it was just put there");
        assert_eq!(bus.remove(0), Err(BusError::Absent { base: 0 }));
        bus.insert(2, 4, Arc::new(Probe::default()))
            .expect("the bus is empty again");
    }
}
