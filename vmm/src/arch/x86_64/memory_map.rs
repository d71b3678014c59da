//! Which guest physical addresses are RAM, and what the guest is told of them.

use super::layout::{
    ACPI, CONVENTIONAL_END, ECAM, ECAM_LEN, EXTENDED, HIGH_RAM, KVM_PAGES, KVM_PAGES_LEN, LOW_RAM_LIMIT,
    LOW_RAM_OF_LARGE, VIDEO,
};

/// What a range of the guest physical address space is, by the numbers of the `E820` BIOS call (ACPI
/// 6.5, table 15.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RangeKind {
    /// RAM for the operating system.
    Ram = 1,
    /// Not to be used.
    Reserved = 2,
}

/// One range of the map that the guest gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapEntry {
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// What it is.
    pub kind: RangeKind,
}

/// The memory map of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryMap {
    low: u64,
    high: u64,
}

impl MemoryMap {
    /// The map of a machine with `bytes` of RAM.
    pub fn new(bytes: u64) -> Self {
        // At the limit itself QEMU moves to the lower split, too.
        let low = if bytes < LOW_RAM_LIMIT {
            bytes
        } else {
            LOW_RAM_OF_LARGE
        };
        Self {
            low,
            high: bytes.saturating_sub(low),
        }
    }

    /// The RAM behind the map: address and length of each region. That under video memory and ROMs is
    /// there, too.
    pub fn ram(&self) -> Vec<(u64, u64)> {
        [(0, self.low), (HIGH_RAM, self.high)]
            .into_iter()
            .filter(|region| region.1 > 0)
            .collect()
    }

    /// Where RAM below 4 GiB ends.
    pub fn low_end(&self) -> u64 {
        self.low
    }

    /// How much RAM lies above 4 GiB.
    pub fn high_len(&self) -> u64 {
        self.high
    }

    /// What the guest is told, in order.
    pub fn entries(&self) -> Vec<MapEntry> {
        use RangeKind::{Ram, Reserved};
        let between = |start, end, kind| MapEntry {
            start,
            len: end - start,
            kind,
        };
        let mut entries = vec![
            between(0, CONVENTIONAL_END, Ram),
            between(CONVENTIONAL_END, VIDEO, Reserved),
            between(ACPI, EXTENDED, Reserved),
            between(EXTENDED, self.low, Ram),
            between(ECAM, ECAM + ECAM_LEN, Reserved),
            between(KVM_PAGES, KVM_PAGES + KVM_PAGES_LEN, Reserved),
        ];
        if self.high > 0 {
            entries.push(between(HIGH_RAM, HIGH_RAM + self.high, Ram));
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::{MAX_MEMORY, MIN_MEMORY};

    proptest! {
        #[test]
        fn a_map_of_any_size_is_whole_and_in_order(pages in MIN_MEMORY / 4096..=MAX_MEMORY / 4096) {
            check(pages * 4096);
        }

        #[test]
        fn a_map_around_the_split_is_whole_and_in_order(pages in 0x70000u64..0x120000) {
            check(pages * 4096);
        }
    }

    fn check(bytes: u64) {
        let map = MemoryMap::new(bytes);
        let ram = map.ram();
        assert_eq!(ram.iter().map(|region| region.1).sum::<u64>(), bytes);
        assert!(map.low_end() <= LOW_RAM_LIMIT);
        // Where huge pages begin.
        assert!(
            ram.iter().all(|region| region.0.is_multiple_of(1 << 30)),
            "{ram:x?}"
        );
        let entries = map.entries();
        for pair in entries.windows(2) {
            assert!(
                pair[0].start + pair[0].len <= pair[1].start,
                "{bytes:#x}: {pair:x?}"
            );
        }
        for entry in entries.iter().filter(|entry| entry.kind == RangeKind::Ram) {
            let inside =
                |&&(start, len): &&(u64, u64)| entry.start >= start && entry.start + entry.len <= start + len;
            assert!(
                entry.len > 0 && ram.iter().find(inside).is_some(),
                "{bytes:#x}: {entry:x?}"
            );
        }
        // The guest gets all but what lies between conventional and extended memory.
        let told: u64 = entries
            .iter()
            .filter(|entry| entry.kind == RangeKind::Ram)
            .map(|entry| entry.len)
            .sum();
        assert_eq!(told, bytes - (EXTENDED - CONVENTIONAL_END));
    }

    #[test]
    fn ram_below_4_gib_ends_where_that_of_q35_does() {
        for (bytes, low) in [
            (64 << 20, 64 << 20),
            (LOW_RAM_LIMIT - 4096, LOW_RAM_LIMIT - 4096),
            (LOW_RAM_LIMIT, LOW_RAM_OF_LARGE),
            (8 << 30, LOW_RAM_OF_LARGE),
        ] {
            assert_eq!(MemoryMap::new(bytes).low_end(), low, "{bytes:#x}");
        }
    }
}
