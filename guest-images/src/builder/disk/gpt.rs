//! Writes a GUID partition table with its protective MBR and both copies.
//!
//! UEFI Specification 2.10, sections 5.2.3 and 5.3. Partitions keep the numbers that they are given
//! (the `gpt` crate counts them anew, which loses Debian's 14 and 15), so the table is written here
//! and the crate reads it in the tests.

use std::io::{self, Seek, SeekFrom, Write};
use uuid::Uuid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes, Unaligned};

/// Bytes of a block.
pub(super) const BLOCK: u64 = 512;
/// Entries of the array: the least that the specification allows, in 16 KiB.
const ENTRIES: usize = 128;
/// Blocks of the array.
const ARRAY_BLOCKS: u64 = (ENTRIES * size_of::<Entry>()) as u64 / BLOCK;
/// Blocks at each end of the disk that no partition may have: the header and its array. Before the
/// first there is the MBR, too.
pub(super) const RESERVED: u64 = 1 + ARRAY_BLOCKS;

/// A partition, by blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partition {
    /// From 1.
    pub(super) number: usize,
    /// What it is for: table 5.7, and the Discoverable Partitions Specification.
    pub(super) kind: Uuid,
    pub(super) id: Uuid,
    pub(super) first: u64,
    /// Inclusive.
    pub(super) last: u64,
    /// ASCII, 36 characters at most.
    pub(super) name: &'static str,
}

/// UEFI 2.10, table 5.5.
#[derive(Clone, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    signature: [u8; 8],
    revision: U32,
    header_size: U32,
    header_crc: U32,
    reserved: U32,
    my_block: U64,
    alternate_block: U64,
    first_usable: U64,
    last_usable: U64,
    disk_guid: [u8; 16],
    entries_block: U64,
    entries: U32,
    entry_size: U32,
    entries_crc: U32,
}

/// UEFI 2.10, table 5.6.
#[derive(Clone, Copy, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    type_guid: [u8; 16],
    guid: [u8; 16],
    first_block: U64,
    last_block: U64,
    attributes: U64,
    name: [U16; 36],
}

/// The protective MBR's one record: UEFI 2.10, table 5.4.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Protection {
    boot_indicator: u8,
    first_chs: [u8; 3],
    os_type: u8,
    last_chs: [u8; 3],
    first_block: U32,
    blocks: U32,
}

/// Where the MBR's records begin.
const RECORDS: usize = 446;

/// Writes the table of a disk of `blocks` blocks. Of the MBR only the records and the signature are
/// written; its boot code stays.
pub(super) fn write(
    disk: &mut (impl Write + Seek),
    blocks: u64,
    id: Uuid,
    partitions: &[Partition],
) -> io::Result<()> {
    let mut at = |block: u64, within: u64, bytes: &[u8]| {
        disk.seek(SeekFrom::Start(block * BLOCK + within))?;
        disk.write_all(bytes)
    };
    let protection = Protection {
        boot_indicator: 0,
        first_chs: [0, 2, 0],
        os_type: 0xee,
        last_chs: [0xff; 3],
        first_block: 1.into(),
        blocks: u32::try_from(blocks - 1).unwrap_or(u32::MAX).into(),
    };
    at(0, RECORDS as u64, protection.as_bytes())?;
    at(0, BLOCK - 2, &[0x55, 0xaa])?;

    let array = array(partitions);
    let last = blocks - 1;
    let mut header = Header {
        signature: *b"EFI PART",
        revision: 0x0001_0000.into(),
        header_size: (size_of::<Header>() as u32).into(),
        header_crc: 0.into(),
        reserved: 0.into(),
        my_block: 1.into(),
        alternate_block: last.into(),
        first_usable: (1 + RESERVED).into(),
        last_usable: (last - RESERVED).into(),
        disk_guid: id.to_bytes_le(),
        entries_block: 2.into(),
        entries: (ENTRIES as u32).into(),
        entry_size: (size_of::<Entry>() as u32).into(),
        entries_crc: crc32fast::hash(array.as_bytes()).into(),
    };
    at(2, 0, array.as_bytes())?;
    at(1, 0, sealed(&header).as_bytes())?;
    header.my_block = last.into();
    header.alternate_block = 1.into();
    header.entries_block = (last - ARRAY_BLOCKS).into();
    at(last - ARRAY_BLOCKS, 0, array.as_bytes())?;
    at(last, 0, sealed(&header).as_bytes())
}

/// With its checksum, which is made while its own field is zero.
fn sealed(header: &Header) -> Header {
    let mut header = header.clone();
    header.header_crc = 0.into();
    header.header_crc = crc32fast::hash(header.as_bytes()).into();
    header
}

fn array(partitions: &[Partition]) -> Vec<Entry> {
    let unused = Entry {
        type_guid: [0; 16],
        guid: [0; 16],
        first_block: 0.into(),
        last_block: 0.into(),
        attributes: 0.into(),
        name: [0.into(); 36],
    };
    let mut array = vec![unused; ENTRIES];
    for partition in partitions {
        let Some(entry) = partition.number.checked_sub(1).and_then(|n| array.get_mut(n)) else {
            continue;
        };
        entry.type_guid = partition.kind.to_bytes_le();
        entry.guid = partition.id.to_bytes_le();
        entry.first_block = partition.first.into();
        entry.last_block = partition.last.into();
        for (unit, sign) in entry.name.iter_mut().zip(partition.name.encode_utf16()) {
            *unit = sign.into();
        }
    }
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn partition(number: usize, first: u64, last: u64) -> Partition {
        Partition {
            number,
            kind: super::super::ROOT,
            id: Uuid::from_u128(number as u128),
            first,
            last,
            name: "a name",
        }
    }

    #[test]
    fn both_copies_are_what_another_reader_expects_and_partitions_keep_their_numbers() {
        const BLOCKS: u64 = 8192;
        let mut disk = Cursor::new(vec![0; (BLOCKS * BLOCK) as usize]);
        let id = Uuid::from_u128(0x1234_5678);
        let partitions = [partition(14, 64, 127), partition(1, 128, BLOCKS - 1 - RESERVED)];
        write(&mut disk, BLOCKS, id, &partitions).unwrap();
        gpt::mbr::ProtectiveMBR::from_disk(&mut disk, gpt::disk::LogicalBlockSize::Lb512).unwrap();
        let read = gpt::GptConfig::new()
            .only_valid_headers(true)
            .open_from_device(&mut disk)
            .unwrap();
        assert_eq!(read.guid(), &id);
        let (primary, backup) = (read.primary_header().unwrap(), read.backup_header().unwrap());
        assert_eq!(primary.crc32_parts, backup.crc32_parts);
        assert_eq!((primary.backup_lba, backup.current_lba), (BLOCKS - 1, BLOCKS - 1));
        assert_eq!((primary.first_usable, primary.last_usable), (34, BLOCKS - 34));
        let found: Vec<_> = read
            .partitions()
            .iter()
            .map(|(n, p)| {
                (
                    *n,
                    p.first_lba,
                    p.last_lba,
                    p.part_guid.as_u128(),
                    p.name.as_str(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [(1, 128, BLOCKS - 34, 1, "a name"), (14, 64, 127, 14, "a name")]
        );
    }

    #[test]
    fn the_boot_code_before_the_table_stays() {
        let mut disk = Cursor::new(vec![0x90; 1 << 20]);
        write(&mut disk, 2048, Uuid::nil(), &[]).unwrap();
        assert!(disk.get_ref()[..RECORDS].iter().all(|byte| *byte == 0x90));
        assert_eq!(disk.get_ref()[RECORDS + 4], 0xee);
    }
}
