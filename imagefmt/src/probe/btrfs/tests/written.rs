//! File systems that Linux itself wrote (`testdata/kernel-written.sh`), unmounted or not.

use super::fixtures::open;
use crate::probe::tests::written::{has_all_that_was_written, image};
use crate::probe::{FileTree, Journal};

const MENU: &[u8] = b"menuentry a { linux /boot/vmlinuz }\n";

/// The numbers up to `last`, a line each.
fn numbers(last: u32) -> Vec<u8> {
    (1..=last).flat_map(|n| format!("{n}\n").into_bytes()).collect()
}

/// What the script wrote of Btrfs alone.
fn has_all_that_was_packed(tree: &FileTree) {
    let mut long = numbers(30_000);
    let between = b"what was written in between";
    long[100_001..][..between.len()].copy_from_slice(between);
    for way in ["zlib", "lzo", "zstd"] {
        let path = |name: &str| format!("/packed/{way}/{name}");
        assert!(tree.read(&path("long"), 1 << 20).unwrap() == long, "{way}");
        assert!(
            tree.read(&path("short"), 1 << 20).unwrap() == numbers(400),
            "{way}"
        );
        // A part of the other's extents, from 64 KiB on, behind a hole.
        let part = tree.read(&path("part"), 1 << 20).unwrap();
        assert!(
            part[..4096] == [0; 4096] && part[4096..] == long[65536..][..12288],
            "{way}"
        );
        for (at, len) in [(0, 1), (131_071, 2), (99_999, 9000), (131_072, 30_000)] {
            let read = tree.read_at(&path("long"), at as u64, len).unwrap();
            assert!(read == long[at..at + len], "{way} {at}");
        }
    }
}

#[test]
fn files_that_linux_wrote_to_btrfs_packed_or_not_are_read_from_its_subvolumes() {
    for name in ["btrfs", "btrfs-mixed"] {
        let tree = open(&image(name)).unwrap();
        assert_eq!(*tree.journal(), Journal::Clean, "{name}");
        has_all_that_was_written(&tree);
        has_all_that_was_packed(&tree);
        assert_eq!(tree.read("/boot/grub2/grub.cfg", 100).unwrap(), MENU);
        assert_eq!(tree.read("/@/boot/grub2/grub.cfg", 100).unwrap(), MENU);
        // A subvolume in it, and a snapshot of it.
        assert_eq!(tree.read("/@/var/x", 9).unwrap(), b"in var\n");
        assert_eq!(
            tree.read("/@snapshots/1/snapshot/etc/x", 100).unwrap(),
            b"before\n"
        );
        assert_eq!(tree.read("/@/etc/x", 100).unwrap(), b"after\n");
        assert!(
            tree.read("/@snapshots/1/snapshot/boot/pieces", 2 << 20).unwrap()
                == tree.read("/boot/pieces", 2 << 20).unwrap()
        );
    }
}

#[test]
fn the_default_subvolume_that_btrfs_progs_set_is_the_root_of_the_system() {
    let tree = open(&image("btrfs-mixed")).unwrap();
    assert_eq!(tree.read("/etc/x", 100).unwrap(), b"before\n");
    let tree = open(&image("btrfs")).unwrap();
    assert_eq!(tree.read("/etc/x", 100).unwrap(), b"after\n");
}

#[test]
fn hazard_a_btrfs_that_was_not_unmounted_is_read_as_of_its_last_commit_and_told() {
    let tree = open(&image("dirty-btrfs")).unwrap();
    assert!(matches!(tree.journal(), Journal::Ignored { .. }));
    has_all_that_was_written(&tree);
    // What came last is in the log only.
    assert_eq!(tree.read("/boot/grub2/grub.cfg", 100).unwrap(), MENU);
}
