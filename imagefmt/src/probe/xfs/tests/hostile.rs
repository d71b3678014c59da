//! Damage, and what a hostile guest would write.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::fixtures::{VARIANTS, content, made, open};
use crate::probe::tests::fixtures::Ram;
use crate::probe::xfs::seal;
use crate::probe::{FileTree, ProbeError, Window};

/// Where fields of the superblock lie.
const FEATURES_INCOMPAT: usize = 216;
const CHECKSUM: usize = 224;

/// Makes the superblock's checksum right again after a change.
fn reseal(disk: &mut [u8]) {
    disk[CHECKSUM..][..4].fill(0);
    let sum = !crate::probe::crc32c::update(!0, &disk[..512]);
    disk[CHECKSUM..][..4].copy_from_slice(&sum.to_le_bytes());
    assert!(seal::is_whole(&disk[..512], CHECKSUM));
}

fn small(options: &[&str]) -> Vec<u8> {
    made(
        options,
        &[("/boot/vmlinuz", b"a kernel"), ("/link", b"->boot/vmlinuz")],
    )
}

fn said(disk: &[u8]) -> String {
    open(disk)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn a_feature_that_is_not_known_is_refused_by_its_name() {
    let disk = small(&[]);
    for (bit, wanted) in [
        (9, "it has zones, which cannot be read"),
        (10, "it has gaps between zones, which cannot be read"),
        (
            31,
            "it has a feature that is not known (bit 31), which cannot be read",
        ),
    ] {
        let mut disk = disk.clone();
        let features = u32::from_be_bytes(disk[FEATURES_INCOMPAT..][..4].try_into().unwrap());
        disk[FEATURES_INCOMPAT..][..4].copy_from_slice(&(features | 1 << bit).to_be_bytes());
        reseal(&mut disk);
        assert_eq!(
            said(&disk),
            format!("the XFS file system cannot be read: {wanted}")
        );
    }
}

#[test]
fn what_the_superblock_cannot_mean_is_refused() {
    let disk = small(&["-m", "crc=0"]);
    let with = |at: usize, bytes: &[u8]| {
        let mut disk = disk.clone();
        disk[at..at + bytes.len()].copy_from_slice(bytes);
        said(&disk)
    };
    let senseless = "the XFS file system cannot be read: its superblock makes no sense";
    // Block, inode and sector sizes, groups, logarithms.
    for (at, bytes) in [
        (4, &[0xFF; 4][..]),
        (4, &[0, 0, 0, 0]),
        (8, &[0xFF; 8]),
        (84, &[0, 0, 0, 1]),
        (88, &[0; 4]),
        (88, &[0xFF; 4]),
        (104, &[0, 7]),
        (120, &[63]),
        (123, &[255]),
        (124, &[64]),
        (192, &[40]),
    ] {
        assert_eq!(with(at, bytes), senseless, "byte {at}");
    }
    assert!(with(100, &[0, 3]).contains("of a version that is not known (0x0003)"));
    assert!(with(126, &[1]).ends_with("it was not made to its end"));
    assert!(with(56, &[0xFF; 8]).ends_with("its root folder is damaged"));
    let cut = said(&disk[..16 << 20]);
    assert!(
        cut.ends_with("33554432 bytes long, more than the 16777216 that are there"),
        "{cut}"
    );
}

#[test]
fn hazard_damage_that_a_checksum_shows_is_not_read() {
    let disk = small(&[]);
    let changed = |magic: &[u8], at: usize| {
        let mut disk = disk.clone();
        let place = disk
            .chunks(512)
            .position(|sector| sector.starts_with(magic))
            .unwrap()
            * 512;
        disk[place + at] ^= 1;
        disk
    };
    assert!(said(&changed(b"XFSB", 300)).ends_with("the checksum of its superblock is wrong"));
    // The first inode is the root folder's: its owner's number.
    assert!(said(&changed(b"IN", 11)).ends_with("its root folder is damaged"));
    let files: Vec<String> = (0..100).map(|n| format!("/boot/{n}")).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|path| (path.as_str(), &b""[..])).collect();
    let mut disk = made(&[], &files);
    let block = disk
        .chunks(512)
        .position(|sector| sector.starts_with(b"XDB3"))
        .unwrap()
        * 512;
    disk[block + 2000] ^= 1;
    let error = open(&disk).unwrap().read("/boot/1", 9).unwrap_err().to_string();
    assert_eq!(
        error,
        "/boot/1 cannot be read: the checksum of a block of it is wrong"
    );
}

#[test]
fn hazard_lengths_of_exabytes_are_not_allocated() {
    let mut disk = small(&["-m", "crc=0"]);
    let mut changed = 0;
    for sector in disk.chunks_mut(256) {
        let is_used = sector.starts_with(b"IN") && sector[2..4] != [0, 0];
        if is_used && sector[2] >> 4 != 4 {
            sector[56..64].copy_from_slice(&(u64::MAX >> 1).to_be_bytes());
            changed += 1;
        }
    }
    assert!(changed >= 2);
    let tree = open(&disk).unwrap();
    let error = tree.read("/boot/vmlinuz", 1 << 20).unwrap_err();
    assert!(matches!(error, ProbeError::TooLong { .. }), "{error}");
    assert_eq!(tree.read_at("/boot/vmlinuz", 1 << 60, 10).unwrap(), [0; 10]);
    let error = tree.read("/link", 10).unwrap_err().to_string();
    assert!(error.starts_with("/link cannot be read: "), "{error}");
}

/// A file system with folders of every form, and where bytes that are not zero lie.
fn full(variant: usize) -> &'static (Vec<u8>, Vec<usize>) {
    static MADE: [OnceLock<(Vec<u8>, Vec<usize>)>; 9] = [const { OnceLock::new() }; 9];
    MADE[variant].get_or_init(|| {
        let long = content(100_000);
        let target = format!("->/{}boot/long", "boot/../".repeat(28));
        let many: Vec<String> = (0..700).map(|n| format!("/many/a-name-{n}")).collect();
        let mut files: Vec<(&str, &[u8])> = vec![
            ("/boot/grub2/grub.cfg", b"menu"),
            ("/boot/long", &long),
            ("/vmlinuz", target.as_bytes()),
        ];
        files.extend(many.iter().map(|path| (path.as_str(), &b""[..])));
        let disk = made(VARIANTS[variant].1, &files);
        let used = (0..disk.len()).filter(|at| disk[*at] != 0).collect();
        (disk, used)
    })
}

fn look_at(tree: &FileTree) {
    let _ = tree.list("/");
    let _ = tree.list("/many");
    let _ = tree.read("/many/a-name-650", 10);
    let _ = tree.read("/boot/grub2/grub.cfg", 1 << 16);
    let _ = tree.read("/vmlinuz", 1 << 20);
    let _ = tree.read_at("/boot/long", 70_000, 5000);
}

/// Makes every checksum right, as far as a piece of metadata shows where its own is.
fn reseal_all(disk: &mut [u8], block: usize) {
    let kinds: [(&[u8], usize, usize); 6] = [
        (b"XFSB", 224, 512),
        (b"IN", 100, 512),
        (b"XDB3", 4, block),
        (b"XDD3", 4, block),
        (b"BMA3", 64, block),
        (b"XSLM", 12, block),
    ];
    for place in (0..disk.len()).step_by(512) {
        for (magic, at, len) in kinds {
            if disk[place..].starts_with(magic) && place + len <= disk.len() {
                let bytes = &mut disk[place..place + len];
                bytes[at..at + 4].fill(0);
                let sum = !crate::probe::crc32c::update(!0, bytes);
                bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the metadata says, the answer is an error or bytes, soon; also where its checksum is right.
    #[test]
    fn hazard_a_damaged_xfs_ends_in_an_error_or_in_bytes(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
        head in prop::collection::vec((4_usize..264, any::<u8>()), 0..2),
        variant in 0..VARIANTS.len(),
        is_resealed in any::<bool>(),
    ) {
        let (disk, used) = full(variant);
        let mut disk = disk.clone();
        for (at, byte) in damage {
            disk[used[at.index(used.len())]] = byte;
        }
        for (at, byte) in head {
            disk[at] = byte;
        }
        if is_resealed {
            reseal_all(&mut disk[..8 << 20], 4096);
        }
        if let Ok(tree) = FileTree::open(&Window::whole(Ram::disk(disk))) {
            look_at(&tree);
        }
    }
}
