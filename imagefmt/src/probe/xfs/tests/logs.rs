//! File systems that Linux itself wrote (`testdata/kernel-written.sh`), unmounted or not.

use super::fixtures::open;
use crate::probe::Journal;
use crate::probe::tests::written::{has_all_that_was_written, image};

#[test]
fn files_that_linux_wrote_in_pieces_with_holes_and_long_links_are_read() {
    for name in ["xfs-v4", "xfs-v5"] {
        let tree = open(&image(name)).unwrap();
        assert_eq!(*tree.journal(), Journal::Clean, "{name}");
        has_all_that_was_written(&tree);
        let menu = tree.read("/boot/grub2/grub.cfg", 100).unwrap();
        assert_eq!(menu, b"menuentry a { linux /boot/vmlinuz }\n");
    }
}

#[test]
fn hazard_a_log_that_was_not_replayed_does_not_stop_a_boot_and_is_told() {
    let tree = open(&image("dirty-xfs-v5")).unwrap();
    assert!(matches!(tree.journal(), Journal::Ignored { .. }));
    has_all_that_was_written(&tree);
    // What came last is in the log only.
    let menu = tree.read("/boot/grub2/grub.cfg", 100).unwrap();
    assert_eq!(menu, b"menuentry a { linux /boot/vmlinuz }\n");
}

#[test]
fn a_log_is_told_as_clean_or_not_wherever_in_its_ring_it_ends() {
    let mut disk = image("xfs-v5");
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
