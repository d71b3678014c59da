//! Nodes of trees that are damaged, or not what their parents say.

use super::fixtures::{FILES, open, said};
use super::writer::{GENERATION, SUPERBLOCK, Sum, TOP, Writer};
use crate::probe::FileTree;

#[test]
fn hazard_damage_of_btrfs_that_a_checksum_shows_is_not_read() {
    let sums: [(u16, Sum); 3] = [
        Writer::default().checksum,
        (1, |bytes| {
            twox_hash::XxHash64::oneshot(0, bytes).to_le_bytes().to_vec()
        }),
        (2, |bytes| <sha2::Sha256 as sha2::Digest>::digest(bytes).to_vec()),
    ];
    for checksum in sums {
        let mut writer = Writer::with(FILES);
        writer.checksum = checksum;
        let whole = writer.bytes();
        assert_eq!(said(&whole), "");
        let mut disk = whole.clone();
        disk[SUPERBLOCK + 0x12B] ^= 1;
        assert!(said(&disk).ends_with("the checksum of its superblock is wrong"));
        let mut disk = whole.clone();
        disk[(2 << 20) + 4000] ^= 1;
        assert!(
            said(&disk).ends_with("the checksum of a block of its tree is wrong"),
            "{}",
            said(&disk)
        );
        // Of two copies one is enough, whichever it is.
        writer.is_double = true;
        let whole = writer.bytes();
        let last = (2 << 20) + (64 << 10);
        for (first, len) in [(1 << 20, 64 << 10), (2 << 20, 64 << 10), (last, 64 << 10)] {
            let mut disk = whole.clone();
            disk[first..][..len].fill(0xEE);
            assert_eq!(
                open(&disk).unwrap().read("/link", 9).unwrap(),
                b"a kernel",
                "{first}"
            );
        }
        let mut disk = whole.clone();
        disk[2 << 20..last + (64 << 10)].fill(0xEE);
        assert!(said(&disk).ends_with("the checksum of a block of its tree is wrong"));
    }
}

/// A node of a tree in what was written: the place of its first byte.
fn node_of(disk: &[u8], tree: u64, level: u8) -> usize {
    let nodes = (2 << 20..disk.len()).step_by(4096);
    let is_meant = |at: &usize| {
        disk[*at + 0x20..].starts_with(b"a uuid of btrfs.")
            && disk[*at + 0x58..][..8] == tree.to_le_bytes()
            && disk[*at + 0x64] == level
    };
    nodes.into_iter().find(is_meant).unwrap()
}

#[test]
fn a_node_that_is_not_what_its_parent_says_is_refused() {
    let mut writer = Writer::with(FILES);
    for n in 0..300 {
        writer.put(TOP, &format!("/many/{n}"), b"");
    }
    let whole = writer.bytes();
    let with = |level: u8, at: usize, bytes: &[u8]| {
        let mut disk = whole.clone();
        let node = node_of(&disk, TOP, level);
        disk[node + at..][..bytes.len()].copy_from_slice(bytes);
        writer.seal_all(&mut disk);
        match open(&disk) {
            Err(error) => error.to_string(),
            Ok(tree) => first_error(&tree).unwrap_or_default(),
        }
    };
    assert_eq!(with(0, 0x64, &[0]), "");
    let damaged = "a block of its tree is damaged";
    let misplaced = "a block of its tree is not the one that belongs there";
    let other = "a block of its tree is another's";
    for (level, at, bytes, wanted) in [
        // Place, generation, count, level.
        (0, 0x30, &[1][..], other),
        (0, 0x50, &[GENERATION as u8 + 1], misplaced),
        (0, 0x60, &[0], misplaced),
        (0, 0x60, &[0xFF; 4], damaged),
        (0, 0x64, &[8], damaged),
        (1, 0x60, &[0], damaged),
        (1, 0x64, &[7], misplaced),
        // The first key, an item's place, its length.
        (0, 101, &[0xFF; 8], damaged),
        (0, 101 + 17, &[0; 4], damaged),
        (0, 101 + 17, &[0xFF; 4], damaged),
        (0, 101 + 21, &[0xFF; 4], damaged),
        // The second child's key, place and generation.
        (1, 101 + 33, &[0xFF; 8], damaged),
        (1, 101 + 33 + 9, &[1], misplaced),
        (1, 101 + 33 + 17, &[0; 8], "a part of it lies in no chunk"),
        (1, 101 + 33 + 25, &[GENERATION as u8 - 1], misplaced),
    ] {
        let said = with(level, at, bytes);
        assert!(said.ends_with(wanted), "{level} {at}: {said}");
    }
}

/// What is said of the first thing that cannot be read, where every node of the tree is needed.
fn first_error(tree: &FileTree) -> Option<String> {
    let entries = (0..300).map(|n| tree.exists(&format!("/many/{n}")).err());
    let mut all = std::iter::once(tree.list("/many").err()).chain(entries);
    all.find_map(|error| error.map(|error| error.to_string()))
}

#[test]
fn hazard_a_tree_that_leads_back_into_itself_ends() {
    let mut writer = Writer::with(FILES);
    for n in 0..300 {
        writer.put(TOP, &format!("/many/{n}"), b"");
    }
    let whole = writer.bytes();
    let node = node_of(&whole, TOP, 1);
    let count = whole[node + 0x60] as usize;
    assert!(count > 3);
    let child = |nth: usize| node + 101 + nth * 33 + 17;
    for nth in 1..count {
        // The node itself, its first child, the child before.
        for place in [node + 0x30, child(0), child(nth - 1)] {
            let mut disk = whole.clone();
            disk[child(nth)..][..8].copy_from_slice(&whole[place..][..8]);
            writer.seal_all(&mut disk);
            let error = first_error(&open(&disk).unwrap()).unwrap();
            assert!(
                error.ends_with("is not the one that belongs there"),
                "{nth}: {error}"
            );
        }
    }
}
