//! The boot sector of a FAT file system, and what follows from it.
//!
//! Microsoft, "FAT: General Overview of On-Disk Format" 1.03, pages 7 to 15; the kind is told as
//! Linux does: a file system without a 16-bit table size is FAT32, the number of clusters tells
//! FAT12 from FAT16.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The most clusters that FAT12 has, and FAT16.
const FAT12_CLUSTERS: u64 = 4084;
const FAT16_CLUSTERS: u64 = 65_524;

/// The most clusters that FAT32 has: 28 bits, less what is reserved.
const FAT32_CLUSTERS: u64 = 0x0FFF_FFF5;

/// The first 90 bytes.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Sector {
    jump: [u8; 3],
    _maker: [u8; 8],
    bytes_per_sector: U16,
    sectors_per_cluster: u8,
    reserved_sectors: U16,
    tables: u8,
    root_entries: U16,
    sectors_16: U16,
    _media: u8,
    table_sectors_16: U16,
    _geometry: [U16; 2],
    _hidden: U32,
    sectors_32: U32,
    /// FAT12 and FAT16 have their serial number and label here, FAT32 goes on.
    rest: [u8; 54],
}

/// The rest of it in FAT32.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Rest32 {
    table_sectors: U32,
    _flags: U16,
    _version: U16,
    root_cluster: U32,
    _sectors: [U16; 2],
    _reserved: [u8; 12],
    volume: Volume,
}

/// Serial number and label.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Volume {
    _drive: [u8; 2],
    signature: u8,
    serial: U32,
    label: [u8; 11],
}

/// Which member of the family it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// Where the root folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// At this byte, so many bytes long.
    Fixed(u64, u64),
    /// It is a file that begins in this cluster.
    Cluster(u32),
}

/// What the boot sector says, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BootSector {
    pub(super) width: Width,
    pub(super) cluster: u64,
    /// The first table.
    pub(super) table: u64,
    pub(super) table_len: u64,
    pub(super) root: Root,
    /// Cluster 2.
    pub(super) data: u64,
    /// Clusters are numbered from 2 to less than this.
    pub(super) end_cluster: u32,
    serial: u32,
    label: [u8; 11],
}

impl BootSector {
    /// Parses the first sector; none if it makes no sense.
    pub(crate) fn parse(head: &[u8]) -> Option<BootSector> {
        let (sector, _) = Sector::read_from_prefix(head).ok()?;
        if head.get(510..512)? != [0x55, 0xAA] || !matches!(sector.jump.first()?, 0xEB | 0xE9) {
            return None;
        }
        let size = u64::from(sector.bytes_per_sector.get());
        let per_cluster = u64::from(sector.sectors_per_cluster);
        if !matches!(size, 512 | 1024 | 2048 | 4096) || !per_cluster.is_power_of_two() {
            return None;
        }
        let rest_32 = Rest32::read_from_prefix(&sector.rest).ok()?.0;
        let volume_16 = Volume::read_from_prefix(&sector.rest).ok()?.0;
        let is_32 = sector.table_sectors_16.get() == 0;
        let (table_sectors, volume) = if is_32 {
            (u64::from(rest_32.table_sectors.get()), rest_32.volume)
        } else {
            (u64::from(sector.table_sectors_16.get()), volume_16)
        };
        let sectors = match sector.sectors_16.get() {
            0 => u64::from(sector.sectors_32.get()),
            sectors => u64::from(sectors),
        };
        if sector.tables == 0 || sector.reserved_sectors.get() == 0 || table_sectors == 0 {
            return None;
        }
        // None of these products of small numbers reaches 2^60.
        let table = u64::from(sector.reserved_sectors.get());
        let root = table.checked_add(table_sectors.checked_mul(u64::from(sector.tables))?)?;
        let root_len = u64::from(sector.root_entries.get()).checked_mul(32)?;
        let data = root.checked_add(root_len.div_ceil(size))?;
        let clusters = sectors.checked_sub(data)?.checked_div(per_cluster)?;
        let width = match clusters {
            _ if is_32 => Width::Fat32,
            _ if clusters <= FAT12_CLUSTERS => Width::Fat12,
            _ if clusters <= FAT16_CLUSTERS => Width::Fat16,
            _ => return None,
        };
        if clusters == 0 || clusters > FAT32_CLUSTERS {
            return None;
        }
        let signed = matches!(volume.signature, 0x28 | 0x29);
        Some(BootSector {
            width,
            cluster: size.checked_mul(per_cluster)?,
            table: table.checked_mul(size)?,
            table_len: table_sectors.checked_mul(size)?,
            root: match width {
                Width::Fat32 => Root::Cluster(rest_32.root_cluster.get()),
                _ => Root::Fixed(root.checked_mul(size)?, root_len),
            },
            data: data.checked_mul(size)?,
            end_cluster: u32::try_from(clusters).ok()?.checked_add(2)?,
            serial: if signed { volume.serial.get() } else { 0 },
            label: if signed { volume.label } else { [b' '; 11] },
        })
    }

    /// The serial number, as `UUID=` on a kernel's command line wants it: `ABCD-1234`.
    pub(crate) fn uuid(&self) -> Option<String> {
        let (high, low) = (self.serial >> 16, self.serial & 0xFFFF);
        (self.serial != 0).then(|| format!("{high:04X}-{low:04X}"))
    }

    /// The label, if there is one.
    pub(crate) fn label(&self) -> Option<String> {
        let label = String::from_utf8_lossy(&self.label);
        let label = label.trim_end_matches([' ', '\0']);
        (!label.is_empty() && label != "NO NAME").then(|| label.to_owned())
    }

    /// `FAT12`, `FAT16` or `FAT32`.
    pub(super) fn family(&self) -> &'static str {
        match self.width {
            Width::Fat12 => "FAT12",
            Width::Fat16 => "FAT16",
            Width::Fat32 => "FAT32",
        }
    }

    /// The first byte of a cluster; none if there is no such cluster.
    pub(super) fn offset(&self, cluster: u32) -> Option<u64> {
        if cluster >= self.end_cluster {
            return None;
        }
        let nth = u64::from(cluster.checked_sub(2)?);
        self.data.checked_add(nth.checked_mul(self.cluster)?)
    }
}

const _: () = assert!(std::mem::offset_of!(Sector, table_sectors_16) == 22);
const _: () = assert!(std::mem::offset_of!(Sector, rest) == 36);
const _: () = assert!(std::mem::offset_of!(Rest32, volume) == 64 - 36);
