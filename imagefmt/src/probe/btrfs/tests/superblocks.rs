//! What the superblock and the chunks cannot mean, or what of it is not read.

use super::fixtures::{FILES, open, said};
use super::writer::{CHUNKS, SUPERBLOCK, SUPERBLOCK_LEN, TOP, Writer};
use crate::probe::ProbeError;

#[test]
fn a_feature_of_btrfs_that_is_not_known_is_refused_by_its_name() {
    for (bit, wanted) in [
        (12, "it has zones, which cannot be read"),
        (
            13,
            "it has the second version of the extent tree, which cannot be read",
        ),
        (14, "it has a tree of RAID stripes, which cannot be read"),
        (
            17,
            "it has a tree of chunks that were moved, which cannot be read",
        ),
        (
            63,
            "it has a feature that is not known (bit 63), which cannot be read",
        ),
    ] {
        let mut writer = Writer::with(FILES);
        writer.features |= 1 << bit;
        assert_eq!(
            said(&writer.bytes()),
            format!("the Btrfs file system cannot be read: {wanted}")
        );
    }
}

#[test]
fn what_lies_on_several_disks_is_refused_with_how_it_does() {
    let writer = Writer::with(FILES);
    let mut disk = writer.bytes();
    disk[SUPERBLOCK + 0x88] = 3;
    writer.seal_all(&mut disk);
    assert_eq!(
        said(&disk),
        "the Btrfs file system cannot be read: it lies on 3 disks; only one that lies on a single disk can be read"
    );
    for (bits, wanted) in [
        (
            1 << 3,
            "a part of it lies as RAID 0; only what lies on a disk once or twice can be read",
        ),
        (
            1 << 4,
            "a part of it lies as RAID 1; only what lies on a disk once or twice can be read",
        ),
        (
            1 << 8,
            "a part of it lies as RAID 6; only what lies on a disk once or twice can be read",
        ),
        (
            1 << 40,
            "a part of it lies in a way that is not known (0x10000000001)",
        ),
    ] {
        let mut writer = Writer::with(FILES);
        let mut item = vec![0; 80];
        item[..8].copy_from_slice(&4096_u64.to_le_bytes());
        item[24..32].copy_from_slice(&(1_u64 | bits).to_le_bytes());
        writer.item(CHUNKS, (256, 228, 1 << 40), item);
        assert_eq!(
            said(&writer.bytes()),
            format!("the Btrfs file system cannot be read: {wanted}")
        );
    }
}

#[test]
fn what_the_superblock_of_btrfs_cannot_mean_is_refused() {
    let writer = Writer::with(FILES);
    let whole = writer.bytes();
    let with = |at: usize, bytes: &[u8]| {
        let mut disk = whole.clone();
        disk[SUPERBLOCK + at..][..bytes.len()].copy_from_slice(bytes);
        writer.seal(&mut disk[SUPERBLOCK..][..SUPERBLOCK_LEN]);
        let said = said(&disk);
        said.strip_prefix("the Btrfs file system cannot be read: ")
            .unwrap_or_else(|| panic!("byte {at:#x}: {said}"))
            .to_owned()
    };
    // Its place, no disk, sizes of sectors and nodes, of the array of chunks, levels.
    for (at, bytes) in [
        (0x30, &[1][..]),
        (0x88, &[0]),
        (0x90, &[1]),
        (0x90, &[0, 0, 0, 1]),
        (0x94, &[0, 4]),
        (0x94, &[0, 0, 2]),
        (0xA0, &[0xFF; 4]),
        (0xC6, &[8]),
        (0xC7, &[9]),
    ] {
        assert_eq!(
            with(at, bytes),
            "its superblock makes no sense",
            "{at:#x} {bytes:?}"
        );
    }
    assert_eq!(
        with(0xC4, &[9]),
        "it has checksums of a kind that is not known (9)"
    );
    for (bit, wanted) in [
        (1, "it is a dump of metadata, without the files"),
        (2, "it is a dump of metadata, without the files"),
        (3, "a change of its UUID was not finished: `btrfstune` does that"),
        (
            7,
            "a change of its checksums was not finished: `btrfstune` does that",
        ),
    ] {
        assert_eq!(with(0x3C, &[1 << bit]), wanted);
    }
    for (at, wanted) in [
        (0x50, "a part of it lies in no chunk"),
        (0x58, "a part of it lies in no chunk"),
        (0xA0, "a part of it lies in no chunk"),
        (0x48, "a block of its tree is not the one that belongs there"),
        (0x20, "a block of its tree is another's"),
        (0xC9, "one of its chunks is damaged"),
    ] {
        assert_eq!(with(at, &[0; 4]), wanted, "{at:#x}");
    }
    let len = whole.len();
    assert_eq!(
        said(&whole[..len - 4096]),
        format!(
            "the Btrfs file system cannot be read: it is {len} bytes long, more than the {} that are there",
            len - 4096
        )
    );
}

#[test]
fn of_a_damaged_superblock_a_copy_that_is_whole_is_told_of() {
    let writer = Writer::with(FILES);
    let mut disk = writer.bytes();
    disk.resize((64 << 20) + SUPERBLOCK_LEN, 0);
    let mut copy = disk[SUPERBLOCK..][..SUPERBLOCK_LEN].to_vec();
    copy[0x30..0x38].copy_from_slice(&(64_u64 << 20).to_le_bytes());
    writer.seal(&mut copy);
    disk[64 << 20..].copy_from_slice(&copy);
    disk[SUPERBLOCK + 0x12B] ^= 1;
    assert!(
        said(&disk).ends_with(
            "the checksum of its superblock is wrong (the copy at 64 MiB is whole: `btrfs rescue super-recover` \
             puts it back)"
        ),
        "{}",
        said(&disk)
    );
    disk[(64 << 20) + 0x12B] ^= 1;
    assert!(said(&disk).ends_with("the checksum of its superblock is wrong"));
}

#[test]
fn chunks_that_make_no_sense_are_refused() {
    let good = |writer: &Writer| {
        let disk = writer.bytes();
        disk[SUPERBLOCK + 0x32B + 17..][..80].to_vec()
    };
    let damaged = "the Btrfs file system cannot be read: one of its chunks is damaged";
    let with = |place: u64, at: usize, bytes: &[u8]| {
        let mut writer = Writer::with(FILES);
        let mut item = good(&writer);
        item[at..at + bytes.len()].copy_from_slice(bytes);
        writer.item(CHUNKS, (256, 228, place), item);
        said(&writer.bytes())
    };
    let free = 1 << 40;
    assert_eq!(with(free, 0, &[]), "");
    for (place, at, bytes) in [
        // No length, one beyond all addresses; no stripes, two; another disk.
        (free, 0, &[0; 8][..]),
        (free, 0, &[0xFF; 8]),
        (free, 44, &[0]),
        (free, 44, &[2]),
        (free, 48, &[7]),
        // Within another one, and with another one in it.
        ((32 << 20) + 4096, 0, &[]),
        (free - 1000, 0, &[]),
    ] {
        let mut writer = Writer::with(FILES);
        let item = good(&writer);
        writer.item(CHUNKS, (256, 228, free), item);
        let mut item = good(&writer);
        item[at..at + bytes.len()].copy_from_slice(bytes);
        writer.item(CHUNKS, (256, 228, place), item);
        assert_eq!(said(&writer.bytes()), damaged, "{place:#x} {at}");
    }
    let mut writer = Writer::with(FILES);
    writer.item(CHUNKS, (256, 228, free), vec![0; 40]);
    assert_eq!(said(&writer.bytes()), damaged);
    // One beyond the end of the disk is told when something is wanted of it.
    let mut writer = Writer::with(FILES);
    let mut item = good(&writer);
    item[56..64].copy_from_slice(&(1_u64 << 45).to_le_bytes());
    writer.item(CHUNKS, (256, 228, free), item);
    let mut extent = vec![0; 53];
    extent[20] = 1;
    extent[21..29].copy_from_slice(&free.to_le_bytes());
    extent[29..31].copy_from_slice(&[0, 16]);
    extent[45..47].copy_from_slice(&[0, 16]);
    writer.put_pieces(TOP, "/a", 4096, &[]);
    let number = writer.inode(TOP, "/a");
    writer.item(TOP, (number, 108, 0), extent);
    let error = open(&writer.bytes()).unwrap().read("/a", 4096).unwrap_err();
    assert!(matches!(error, ProbeError::BeyondEnd { .. }), "{error}");
}
