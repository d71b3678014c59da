//! The MBR partition table, with extended partitions and the logical ones in them.
//!
//! Layout: four entries of 16 bytes at byte 446 of the first sector, then 0x55 0xAA. An extended
//! partition (types 0x05, 0x0F, 0x85) starts with a sector of the same form (EBR), whose first
//! entry is a logical partition relative to that sector, and whose second names the next EBR
//! relative to the start of the extended partition.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned, little_endian::U32};

use super::{Partition, PartitionKind, ProbeError, Window};

/// The most logical partitions that are followed. It ends chains that lead back into themselves;
/// Linux itself numbers no more than this on most disks.
const LOGICAL_LIMIT: usize = 124;

/// Bytes of a sector.
const SECTOR: u64 = 512;

/// A GPT's protective entry.
const PROTECTIVE: u8 = 0xEE;

/// One entry of the table.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Entry {
    status: u8,
    _first_chs: [u8; 3],
    kind: u8,
    _last_chs: [u8; 3],
    first_sector: U32,
    sectors: U32,
}

/// The first sector of a disk, or of an extended partition.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Sector {
    _code: [u8; 440],
    disk_signature: U32,
    _reserved: [u8; 2],
    entries: [Entry; 4],
    signature: [u8; 2],
}

impl Entry {
    fn is_used(&self) -> bool {
        self.kind != 0 && self.sectors.get() != 0
    }

    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85)
    }

    /// Length in bytes.
    fn len(&self) -> u64 {
        u64::from(self.sectors.get()).saturating_mul(SECTOR)
    }
}

/// What the first sector says.
pub(super) enum Mbr {
    /// No table.
    None,
    /// The table only protects a GPT.
    Protective,
    /// Partitions, in the order of the table, logical ones from index 4 on.
    Partitions(Vec<Partition>),
}

/// Reads the table in the first sector of `disk`.
pub(super) fn read(disk: &Window) -> Result<Mbr, ProbeError> {
    let first = disk.read_up_to(0, SECTOR as usize)?;
    let Ok(sector) = Sector::read_from_bytes(&first) else {
        return Ok(Mbr::None);
    };
    if sector.signature != [0x55, 0xAA] || is_boot_sector(&first) {
        return Ok(Mbr::None);
    }
    if sector.entries.iter().any(|entry| entry.kind == PROTECTIVE) {
        return Ok(Mbr::Protective);
    }
    // A boot loader's code can end in 0x55 0xAA without any table: each entry must make sense.
    let sound = |entry: &Entry| {
        matches!(entry.status, 0x00 | 0x80) && (!entry.is_used() || entry.first_sector.get() != 0)
    };
    if !sector.entries.iter().all(sound) || !sector.entries.iter().any(Entry::is_used) {
        return Ok(Mbr::None);
    }
    let id = sector.disk_signature.get();
    let mut partitions = Vec::new();
    for (index, entry) in (0u32..).zip(&sector.entries).filter(|(_, entry)| entry.is_used()) {
        let start = u64::from(entry.first_sector.get()).saturating_mul(SECTOR);
        if entry.is_extended() {
            logical(disk, start, id, &mut partitions)?;
        } else {
            partitions.push(partition(index, start, entry, id));
        }
    }
    partitions.sort_by_key(|partition| partition.index);
    Ok(Mbr::Partitions(partitions))
}

/// Follows the chain of an extended partition that begins at byte `base`.
fn logical(disk: &Window, base: u64, id: u32, partitions: &mut Vec<Partition>) -> Result<(), ProbeError> {
    let mut at = base;
    for _ in 0..LOGICAL_LIMIT {
        let bytes = disk.read_up_to(at, SECTOR as usize)?;
        let Ok(sector) = Sector::read_from_bytes(&bytes) else {
            return Ok(());
        };
        if sector.signature != [0x55, 0xAA] {
            return Ok(());
        }
        let [own, next, ..] = sector.entries;
        if own.is_used() && !own.is_extended() {
            let start = at.saturating_add(u64::from(own.first_sector.get()).saturating_mul(SECTOR));
            let logical = partitions.iter().filter(|partition| partition.index >= 4).count();
            let index = u32::try_from(logical).unwrap_or(u32::MAX).saturating_add(4);
            partitions.push(partition(index, start, &own, id));
        }
        if !next.is_used() || !next.is_extended() {
            return Ok(());
        }
        let following = base.saturating_add(u64::from(next.first_sector.get()).saturating_mul(SECTOR));
        // Chains go forward on every sound disk; one that does not is a loop.
        if following <= at {
            return Ok(());
        }
        at = following;
    }
    Ok(())
}

fn partition(index: u32, start: u64, entry: &Entry, id: u32) -> Partition {
    Partition {
        index,
        start,
        len: entry.len(),
        kind: PartitionKind::Mbr {
            code: entry.kind,
            active: entry.status == 0x80,
        },
        uuid: Some(format!("{id:08x}-{:02x}", index.saturating_add(1))),
    }
}

/// Whether the sector is the boot sector of a FAT or NTFS file system that fills the whole disk:
/// it ends in 0x55 0xAA, too, and its code may look like a table.
fn is_boot_sector(sector: &[u8]) -> bool {
    let at = |offset: usize, magic: &[u8]| sector.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    at(3, b"NTFS    ") || at(3, b"EXFAT   ") || at(54, b"FAT1") || at(82, b"FAT32   ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::fixtures::{Ram, sectors};

    /// An entry as it lies on the disk.
    fn entry(kind: u8, first: u32, sectors: u32) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[4] = kind;
        bytes[8..12].copy_from_slice(&first.to_le_bytes());
        bytes[12..].copy_from_slice(&sectors.to_le_bytes());
        bytes
    }

    fn put_table(disk: &mut [u8], sector: usize, entries: &[[u8; 16]]) {
        let base = sector * 512;
        for (n, entry) in entries.iter().enumerate() {
            disk[base + 446 + n * 16..][..16].copy_from_slice(entry);
        }
        disk[base + 510..base + 512].copy_from_slice(&[0x55, 0xAA]);
    }

    fn partitions(bytes: Vec<u8>) -> Vec<(u32, u64, u64)> {
        match read(&Window::whole(Ram::disk(bytes))).unwrap() {
            Mbr::Partitions(list) => list
                .iter()
                .map(|p| (p.index, p.start / 512, p.len / 512))
                .collect(),
            Mbr::None => Vec::new(),
            Mbr::Protective => panic!("protective"),
        }
    }

    #[test]
    fn primary_and_logical_partitions_get_the_numbers_that_linux_gives_them() {
        let mut disk = sectors(1000);
        put_table(
            &mut disk,
            0,
            &[
                entry(0x83, 10, 5),
                [0; 16],
                entry(0x05, 100, 800),
                entry(0x82, 20, 7),
            ],
        );
        put_table(&mut disk, 100, &[entry(0x83, 2, 50), entry(0x05, 100, 200)]);
        put_table(&mut disk, 200, &[entry(0x83, 3, 60)]);
        assert_eq!(
            partitions(disk),
            [(0, 10, 5), (3, 20, 7), (4, 102, 50), (5, 203, 60)]
        );
    }

    #[test]
    fn hazard_a_chain_of_logical_partitions_that_loops_ends() {
        let mut disk = sectors(1000);
        put_table(&mut disk, 0, &[entry(0x0F, 100, 800)]);
        put_table(&mut disk, 100, &[entry(0x83, 2, 5), entry(0x05, 100, 10)]);
        put_table(&mut disk, 200, &[entry(0x83, 2, 5), entry(0x05, 0, 10)]);
        assert_eq!(partitions(disk), [(4, 102, 5), (5, 202, 5)]);
    }

    #[test]
    fn boot_code_without_a_table_is_no_table() {
        let mut disk = sectors(4);
        disk[440..510].fill(0x9C);
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(partitions(disk), []);
    }

    #[test]
    fn a_fat_file_system_without_partitions_is_no_table() {
        let mut disk = sectors(100);
        put_table(&mut disk, 0, &[entry(0x83, 10, 5)]);
        disk[54..62].copy_from_slice(b"FAT16   ");
        assert_eq!(partitions(disk), []);
    }
}
