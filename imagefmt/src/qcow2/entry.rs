//! Entries of the L1 and L2 tables (qcow2.rst, "Cluster mapping").
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::fault::Fault;
use super::geometry::{Geometry, HostOffset};

/// Bits 9 to 55: an offset in the file.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit 63: the refcount of what the entry points to is exactly one, so it may be written in place.
const COPIED: u64 = 1 << 63;
/// Bit 62 of an L2 entry: compressed.
const COMPRESSED: u64 = 1 << 62;
/// Bit 0 of an L2 entry, version 3: reads as zeroes.
const ZERO: u64 = 1;
/// Compressed data is counted in sectors of this size.
const SECTOR: u64 = 512;

/// Where an L2 table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct L1Entry {
    /// The table's place.
    pub(crate) table: HostOffset,
    /// Whether nothing else refers to it.
    pub(crate) copied: bool,
}

impl L1Entry {
    /// `None` if there is no L2 table.
    pub(crate) fn decode(raw: u64, geometry: Geometry) -> Result<Option<Self>, Fault> {
        if raw & !(OFFSET | COPIED) != 0 {
            return Err(Fault::Reserved {
                table: "L1",
                entry: raw,
            });
        }
        let table = HostOffset(raw & OFFSET);
        if table.0 == 0 {
            return Ok(None);
        }
        aligned("L2 table", table, geometry)?;
        Ok(Some(Self {
            table,
            copied: raw & COPIED != 0,
        }))
    }

    /// The entry for a table that only it refers to.
    pub(crate) fn encode(table: HostOffset) -> u64 {
        table.0 | COPIED
    }
}

/// Where the data of one guest cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum L2Entry {
    /// Not in this layer: whatever the layer below says.
    Unallocated,
    /// Zeroes, whatever the layer below says; space may be reserved for it.
    Zero {
        /// Reserved space.
        host: Option<HostOffset>,
    },
    /// A cluster of the file.
    Data {
        /// Its place.
        host: HostOffset,
        /// Whether nothing else refers to it.
        copied: bool,
    },
    /// Deflated or zstd-compressed data.
    Compressed {
        /// Its first byte.
        start: HostOffset,
        /// Its length up to the end of its last sector; the stream may end before.
        len: u64,
    },
}

impl L2Entry {
    /// Reads an entry.
    pub(crate) fn decode(raw: u64, geometry: Geometry, version: u32) -> Result<Self, Fault> {
        if raw & COMPRESSED != 0 {
            return Ok(Self::decode_compressed(raw, geometry));
        }
        let zero = if version >= 3 { ZERO } else { 0 };
        if raw & !(OFFSET | COPIED | zero) != 0 {
            return Err(Fault::Reserved {
                table: "L2",
                entry: raw,
            });
        }
        let host = HostOffset(raw & OFFSET);
        aligned("data cluster", host, geometry)?;
        Ok(match (raw & zero != 0, host.0) {
            (true, 0) => Self::Zero { host: None },
            (true, _) => Self::Zero { host: Some(host) },
            (false, 0) => Self::Unallocated,
            (false, _) => Self::Data {
                host,
                copied: raw & COPIED != 0,
            },
        })
    }

    /// Bits 0 to x-1 are the offset, x to 61 the number of sectors beyond the first, x = 62 - (bits - 8).
    fn decode_compressed(raw: u64, geometry: Geometry) -> Self {
        let x = 70_u32.saturating_sub(geometry.bits());
        let mask = 1_u64.checked_shl(x).unwrap_or(0).wrapping_sub(1);
        let start = raw & mask;
        let sectors = (raw & !(COPIED | COMPRESSED))
            .checked_shr(x)
            .unwrap_or(0)
            .saturating_add(1);
        let len = sectors.saturating_mul(SECTOR).saturating_sub(start % SECTOR);
        Self::Compressed {
            start: HostOffset(start),
            len,
        }
    }

    /// The entry's bits. Compressed clusters are never written.
    pub(crate) fn encode(self) -> u64 {
        match self {
            Self::Unallocated | Self::Compressed { .. } => 0,
            Self::Zero { host: None } => ZERO,
            Self::Zero { host: Some(host) } => ZERO | COPIED | host.0,
            Self::Data { host, copied } => host.0 | if copied { COPIED } else { 0 },
        }
    }
}

fn aligned(table: &'static str, at: HostOffset, geometry: Geometry) -> Result<(), Fault> {
    if geometry.within(at.0) == 0 {
        Ok(())
    } else {
        Err(Fault::Unaligned { table, offset: at.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(raw: u64) -> Result<L2Entry, Fault> {
        L2Entry::decode(raw, Geometry::new(16).unwrap(), 3)
    }

    #[test]
    fn entries_survive_encoding() {
        let host = HostOffset(0x0012_3456_7800_0000 & OFFSET);
        for entry in [
            L2Entry::Unallocated,
            L2Entry::Zero { host: None },
            L2Entry::Zero { host: Some(host) },
            L2Entry::Data { host, copied: true },
            L2Entry::Data { host, copied: false },
        ] {
            assert_eq!(decode(entry.encode()), Ok(entry));
        }
    }

    #[test]
    fn reserved_bits_and_odd_offsets_are_faults() {
        assert!(matches!(decode(1 << 57), Err(Fault::Reserved { .. })));
        assert!(matches!(decode(0x1_8000), Err(Fault::Unaligned { .. })));
        assert!(matches!(
            L2Entry::decode(1, Geometry::new(16).unwrap(), 2),
            Err(Fault::Reserved { .. })
        ));
        assert!(matches!(
            L1Entry::decode(7, Geometry::new(16).unwrap()),
            Err(Fault::Reserved { .. })
        ));
    }

    #[test]
    fn a_compressed_entry_counts_sectors_from_its_first_byte() {
        let raw = COMPRESSED | 0x5_0010 | (3 << 54);
        let want = L2Entry::Compressed {
            start: HostOffset(0x5_0010),
            len: 4 * 512 - 16,
        };
        assert_eq!(decode(raw), Ok(want));
    }
}
