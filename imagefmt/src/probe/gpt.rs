//! The GUID partition table, both copies of it.
//!
//! UEFI Specification 2.10, section 5.3. The header lies in block 1 and, as a second copy, in the
//! last block; each names its own array of entries and carries CRC-32 sums of itself (with the
//! sum's field zero) and of the array.

use uuid::Uuid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{Partition, PartitionKind, ProbeError, Window};

/// Bytes of a block.
const BLOCK: u64 = 512;

/// The longest array of entries that is read: 8192 entries of the usual size. UEFI sets no limit
/// of its own, so a header could ask for terabytes.
const ARRAY_LIMIT: u64 = 1 << 20;

/// UEFI 2.10, table 5.5.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    signature: [u8; 8],
    _revision: U32,
    header_size: U32,
    header_crc: U32,
    _reserved: U32,
    my_block: U64,
    _alternate_block: U64,
    _first_usable: U64,
    _last_usable: U64,
    _disk_guid: [u8; 16],
    entries_block: U64,
    entries: U32,
    entry_size: U32,
    entries_crc: U32,
}

/// UEFI 2.10, table 5.6.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    type_guid: [u8; 16],
    guid: [u8; 16],
    first_block: U64,
    last_block: U64,
    _attributes: U64,
    name: [U16; 36],
}

/// Reads the table: its first copy if that is sound, else the second, with what is wrong with the first.
pub(super) fn read(disk: &Window) -> Result<(Vec<Partition>, Option<String>), ProbeError> {
    let primary = match copy(disk, 1)? {
        Ok(partitions) => return Ok((partitions, None)),
        Err(reason) => reason,
    };
    let last = (disk.len() / BLOCK).saturating_sub(1);
    match copy(disk, last)? {
        Ok(partitions) => {
            tracing::warn!("the first copy of the GPT cannot be used ({primary}); its second copy is read");
            Ok((partitions, Some(primary)))
        }
        Err(_) if disk.read_up_to(4096, 8)? == b"EFI PART" => Err(ProbeError::SectorSize(4096)),
        Err(backup) => Err(ProbeError::Gpt { primary, backup }),
    }
}

/// Whether a header's signature is in block 1: a GPT without its protective MBR.
pub(super) fn is_there(disk: &Window) -> Result<bool, ProbeError> {
    Ok(disk.read_up_to(BLOCK, 8)? == b"EFI PART")
}

/// Reads the copy whose header is in `block`; the inner error says what is wrong with it.
fn copy(disk: &Window, block: u64) -> Result<Result<Vec<Partition>, String>, ProbeError> {
    let bytes = disk.read_up_to(block.saturating_mul(BLOCK), BLOCK as usize)?;
    let header = match header(&bytes, block) {
        Ok(header) => header,
        Err(reason) => return Ok(Err(reason)),
    };
    let len = u64::from(header.entries.get()).saturating_mul(u64::from(header.entry_size.get()));
    if len > ARRAY_LIMIT {
        return Ok(Err(format!("its array of entries would be {len} bytes long")));
    }
    let start = header.entries_block.get().saturating_mul(BLOCK);
    if start.checked_add(len).is_none_or(|end| end > disk.len()) {
        return Ok(Err("its entries lie beyond the end of the disk".into()));
    }
    let array = disk.read_up_to(start, usize::try_from(len).unwrap_or(0))?;
    if crc32fast::hash(&array) != header.entries_crc.get() {
        return Ok(Err("the checksum of its entries is wrong".into()));
    }
    let size = usize::try_from(header.entry_size.get()).unwrap_or(usize::MAX);
    Ok(Ok((0u32..)
        .zip(array.chunks_exact(size))
        .filter_map(|(n, bytes)| partition(n, bytes))
        .collect()))
}

/// Parses and checks the header in `bytes`, which were read from `block`.
fn header(bytes: &[u8], block: u64) -> Result<Header, String> {
    let (header, _) = Header::read_from_prefix(bytes).map_err(|_| "the disk is too small".to_string())?;
    if &header.signature != b"EFI PART" {
        return Err("there is none".into());
    }
    let size = usize::try_from(header.header_size.get()).unwrap_or(usize::MAX);
    let covered = bytes.get(..size).filter(|_| size >= size_of::<Header>());
    let covered = covered.ok_or_else(|| format!("its header would be {size} bytes long"))?;
    // The sum is made with its own field, bytes 16 to 19, taken as zero.
    let mut sum = crc32fast::Hasher::new();
    for (n, byte) in covered.iter().enumerate() {
        sum.update(if (16..20).contains(&n) {
            &[0]
        } else {
            std::slice::from_ref(byte)
        });
    }
    if sum.finalize() != header.header_crc.get() {
        return Err("the checksum of its header is wrong".into());
    }
    if header.my_block.get() != block {
        return Err(format!(
            "its header says it belongs in block {}",
            header.my_block.get()
        ));
    }
    if header.entry_size.get() < size_of::<Entry>() as u32 {
        return Err(format!(
            "its entries would be {} bytes long",
            header.entry_size.get()
        ));
    }
    Ok(header)
}

/// The partition of an entry; none if the entry is unused.
fn partition(index: u32, bytes: &[u8]) -> Option<Partition> {
    let (entry, _) = Entry::read_from_prefix(bytes).ok()?;
    if entry.type_guid == [0; 16] {
        return None;
    }
    let (first, last) = (entry.first_block.get(), entry.last_block.get());
    let blocks = last.checked_sub(first)?.checked_add(1)?;
    let units: Vec<u16> = entry
        .name
        .iter()
        .map(|unit| unit.get())
        .take_while(|unit| *unit != 0)
        .collect();
    Some(Partition {
        index,
        start: first.checked_mul(BLOCK)?,
        len: blocks.checked_mul(BLOCK)?,
        kind: PartitionKind::Gpt {
            type_guid: Uuid::from_bytes_le(entry.type_guid),
            name: String::from_utf16_lossy(&units),
        },
        uuid: Some(Uuid::from_bytes_le(entry.guid).to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::fixtures::{self, Ram};

    fn read_bytes(bytes: &[u8]) -> Result<Vec<Partition>, ProbeError> {
        Ok(read(&Window::whole(Ram::disk(bytes.to_vec())))?.0)
    }

    #[test]
    fn partitions_made_by_another_library_are_read_back() {
        let disk = fixtures::gpt(&[("boot", 3 << 20), ("root", 10 << 20)], 32 << 20);
        let found = read_bytes(&disk).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].index, found[0].len), (0, 3 << 20));
        assert!(matches!(&found[1].kind, PartitionKind::Gpt { name, .. } if name == "root"));
        assert_eq!(found[1].start, found[0].start + found[0].len);
    }

    #[test]
    fn the_second_copy_is_read_where_the_first_is_damaged() {
        let mut disk = fixtures::gpt(&[("root", 10 << 20)], 32 << 20);
        disk[512 + 40] ^= 1;
        assert_eq!(read_bytes(&disk).unwrap().len(), 1);
        disk[512 + 40] ^= 1;
        disk[1024 + 33] ^= 1;
        assert_eq!(read_bytes(&disk).unwrap().len(), 1);
    }

    #[test]
    fn with_both_copies_damaged_the_error_says_what_is_wrong_with_each() {
        let mut disk = fixtures::gpt(&[("root", 10 << 20)], 32 << 20);
        disk[512 + 40] ^= 1;
        let last = disk.len() - 512;
        disk[last..last + 8].fill(0);
        let said = read_bytes(&disk).unwrap_err().to_string();
        assert!(
            said.contains("first copy: the checksum of its header is wrong"),
            "{said}"
        );
        assert!(said.contains("second copy: there is none"), "{said}");
    }

    #[test]
    fn hazard_an_array_of_terabytes_is_not_allocated() {
        let mut disk = fixtures::gpt(&[("root", 10 << 20)], 32 << 20);
        disk[512 + 80..512 + 88].fill(0xff);
        fixtures::reseal_gpt(&mut disk[512..1024]);
        let last = disk.len() - 512;
        disk[last] = 0;
        let said = read_bytes(&disk).unwrap_err().to_string();
        assert!(said.contains("bytes long"), "{said}");
    }
}
