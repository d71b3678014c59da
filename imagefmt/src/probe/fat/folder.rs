//! The entries of a folder, with their long names.
//!
//! Microsoft, "FAT: General Overview of On-Disk Format" 1.03, pages 22 to 32. A long name lies in
//! entries before that of the short one, the last part first, thirteen UTF-16 units in each.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes of an entry.
pub(super) const ENTRY: usize = 32;

/// The longest name is this many entries long: 255 units.
const LONG_LIMIT: u8 = 20;

const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_FOLDER: u8 = 0x10;
/// Read-only, hidden, system and label together: a part of a long name.
const ATTRIBUTES_LONG: u8 = 0x0F;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    name: [u8; 11],
    attributes: u8,
    /// Windows NT: bit 3, the name is in small letters; bit 4, its ending is.
    case: u8,
    _created: [u8; 7],
    cluster_high: U16,
    _written: [u8; 4],
    cluster_low: U16,
    len: U32,
}

/// An entry: a file or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The short name, by which it can be found, too.
    short: String,
    pub(super) is_folder: bool,
    pub(super) cluster: u32,
    pub(super) len: u64,
}

impl Entry {
    /// Whether it is called `name`, in whatever case.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.name.to_lowercase() == name || self.short.to_lowercase() == name
    }
}

/// The entries in the bytes of a folder.
pub(super) fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut long = Long::default();
    for bytes in bytes.chunks_exact(ENTRY) {
        let Ok(raw) = Raw::read_from_bytes(bytes) else {
            break;
        };
        match raw.name.first() {
            None | Some(0) => break,
            // It was deleted.
            Some(0xE5) => long = Long::default(),
            Some(first) if raw.attributes & 0x3F == ATTRIBUTES_LONG => long.part(*first, bytes),
            Some(_) => {
                let name = std::mem::take(&mut long).name(&raw.name);
                if raw.attributes & ATTRIBUTE_LABEL != 0 || raw.name.starts_with(b".") {
                    continue;
                }
                let short = raw.short();
                found.push(Entry {
                    name: name.unwrap_or_else(|| short.clone()),
                    short,
                    is_folder: raw.attributes & ATTRIBUTE_FOLDER != 0,
                    cluster: u32::from(raw.cluster_high.get()) << 16 | u32::from(raw.cluster_low.get()),
                    len: u64::from(raw.len.get()),
                });
            }
        }
    }
    found
}

impl Raw {
    /// `NAME.END`, or as the case bits say.
    fn short(&self) -> String {
        let (name, ending) = self.name.split_at(8);
        let text = |bytes: &[u8], small: bool| {
            let letters = bytes.iter().map(|byte| match byte {
                // Above ASCII the meaning depends on the maker's country.
                0x80.. => char::REPLACEMENT_CHARACTER,
                byte if small => char::from(byte.to_ascii_lowercase()),
                byte => char::from(*byte),
            });
            letters.collect::<String>().trim_end().to_owned()
        };
        let name = text(name, self.case & 0x08 != 0);
        match text(ending, self.case & 0x10 != 0) {
            ending if ending.is_empty() => name,
            ending => format!("{name}.{ending}"),
        }
    }
}

/// The parts of a long name that were seen so far, the last part first.
#[derive(Default)]
struct Long {
    /// The number of the part that was seen last, counted down to 1.
    order: u8,
    sum: u8,
    units: Vec<[u16; 13]>,
}

impl Long {
    /// Takes the next part in `bytes`, or begins anew.
    fn part(&mut self, first: u8, bytes: &[u8]) {
        let order = first & 0x3F;
        let sum = bytes.get(13).copied().unwrap_or_default();
        let begins = first & 0x40 != 0;
        let goes_on = self.order.checked_sub(1) == Some(order) && self.sum == sum;
        if order == 0 || order > LONG_LIMIT || !(begins || goes_on) {
            *self = Long::default();
            return;
        }
        if begins {
            self.units.clear();
        }
        let mut units = [0xFFFF; 13];
        let places = [1..11, 14..26, 28..32]
            .into_iter()
            .flat_map(|range| bytes.get(range).unwrap_or_default().chunks_exact(2));
        for (unit, pair) in units.iter_mut().zip(places) {
            *unit = pair.first_chunk().copied().map_or(0, u16::from_le_bytes);
        }
        (self.order, self.sum) = (order, sum);
        self.units.push(units);
    }

    /// The name, if all of it was seen and it belongs to the short name `short`.
    fn name(self, short: &[u8; 11]) -> Option<String> {
        let sum = short
            .iter()
            .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.order != 1 || self.sum != sum {
            return None;
        }
        let units = self.units.into_iter().rev().flatten();
        let units: Vec<u16> = units.take_while(|unit| *unit != 0 && *unit != 0xFFFF).collect();
        Some(String::from_utf16_lossy(&units)).filter(|name| !name.is_empty())
    }
}
