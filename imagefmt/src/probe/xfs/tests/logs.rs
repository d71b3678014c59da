//! File systems that Linux itself wrote (`testdata/kernel-written.sh`), unmounted or not.

use std::io::Read;

use super::fixtures::open;
use crate::probe::{FileTree, Journal};

fn from_a_kernel(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/{name}.img.gz", env!("CARGO_MANIFEST_DIR"));
    let mut disk = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_end(&mut disk)
        .unwrap();
    disk
}

/// What the script wrote, whatever the file system.
fn has_all_that_was_written(tree: &FileTree) {
    // Every other 4 KiB of a file of lines was punched out.
    let mut wanted: Vec<u8> = b"what the file in pieces says\n".repeat(50_000);
    wanted.truncate(1_200_000);
    for hole in wanted.chunks_mut(8192) {
        let len = hole.len().min(4096);
        hole[..len].fill(0);
    }
    assert!(tree.read("/boot/pieces", 2 << 20).unwrap() == wanted);
    assert!(tree.read("/boot/shared", 2 << 20).unwrap() == wanted);
    assert!(tree.read_at("/boot/pieces", 700_001, 9000).unwrap() == wanted[700_001..709_001]);
    let mut wanted = vec![0; 1 << 20];
    wanted[..5].fill(b'a');
    wanted[600_000..600_005].fill(b'z');
    for length in [10, 60, 300, 340, 500, 900, 1015] {
        let link = format!("/etc/link-{length}");
        assert!(tree.read(&link, 1 << 20).unwrap() == wanted, "{link}");
        assert_eq!(tree.resolve(&link).unwrap(), "/boot/aside");
    }
    let far = tree.read_at("/boot/far", 4_999_999_997, 100).unwrap();
    assert_eq!(far, b"\0\0\0bbb\0\0\0\0\0\0\0");
    assert_eq!(tree.list("/many").unwrap().len(), 600);
    for n in [0, 1, 299, 599] {
        let path = format!("/many/file-{n}.txt");
        assert_eq!(tree.read(&path, 9).unwrap(), format!("{n}\n").into_bytes());
    }
    assert!(tree.list("/many").unwrap().iter().all(|entry| !entry.is_folder));
}

#[test]
fn files_that_linux_wrote_in_pieces_with_holes_and_long_links_are_read() {
    for name in ["xfs-v4", "xfs-v5"] {
        let tree = open(&from_a_kernel(name)).unwrap();
        assert_eq!(*tree.journal(), Journal::Clean, "{name}");
        has_all_that_was_written(&tree);
        let menu = tree.read("/boot/grub2/grub.cfg", 100).unwrap();
        assert_eq!(menu, b"menuentry a { linux /boot/vmlinuz }\n");
    }
}

#[test]
fn hazard_a_log_that_was_not_replayed_does_not_stop_a_boot_and_is_told() {
    let tree = open(&from_a_kernel("dirty-xfs-v5")).unwrap();
    assert!(matches!(tree.journal(), Journal::Ignored { .. }));
    has_all_that_was_written(&tree);
    // What came last is in the log only.
    let menu = tree.read("/boot/grub2/grub.cfg", 100).unwrap();
    assert_eq!(menu, b"menuentry a { linux /boot/vmlinuz }\n");
}

#[test]
fn a_log_is_told_as_clean_or_not_wherever_in_its_ring_it_ends() {
    let mut disk = from_a_kernel("xfs-v5");
    let tree = open(&disk).unwrap();
    assert_eq!(*tree.journal(), Journal::Clean);
    drop(tree);
    // Without the word that it was unmounted.
    let number = |at: usize| u32::from_be_bytes(disk[at..at + 4].try_into().unwrap()) as usize;
    let (block, ag_blocks, ag_log) = (number(4), number(84), disk[124]);
    let start = number(52);
    let start = ((start >> ag_log) * ag_blocks + (start & ((1 << ag_log) - 1))) * block;
    let len = number(96) * block;
    let records: Vec<usize> = (start..start + len)
        .step_by(512)
        .filter(|at| disk[*at..].starts_with(&0xFEED_BABE_u32.to_be_bytes()))
        .collect();
    for record in records {
        disk[record + 512 + 9] &= !0x20;
    }
    assert!(matches!(open(&disk).unwrap().journal(), Journal::Ignored { .. }));
    // One that was never written to, and one that makes no sense at all.
    disk[start..start + len].fill(0);
    assert_eq!(*open(&disk).unwrap().journal(), Journal::Clean);
    disk[start..start + len].fill(0xEE);
    assert!(matches!(open(&disk).unwrap().journal(), Journal::Ignored { .. }));
}
