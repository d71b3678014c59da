//! File systems as e2fsprogs makes them, and as a hostile guest would.

pub(crate) mod fixtures;
pub(crate) mod written;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::{FileSystem, FileSystemKind, FileTree, Journal, PartitionTable, ProbeError, TableKind, Window};
use fixtures::{Ram, ext, ext_file, gpt, tool};

const VARIANTS: &[(&str, &[&str])] = &[
    ("ext2", &["-t", "ext2"]),
    ("ext3", &["-t", "ext3"]),
    ("ext3", &["-t", "ext3", "-b", "4096"]),
    ("ext4", &["-t", "ext4"]),
    ("ext4", &["-t", "ext4", "-O", "^metadata_csum,^64bit"]),
    ("ext4", &["-t", "ext4", "-O", "metadata_csum,^64bit"]),
    ("ext4", &["-t", "ext4", "-O", "mmp,ea_inode", "-b", "4096"]),
];

fn open(bytes: &[u8]) -> Result<FileTree, ProbeError> {
    FileTree::open(&Window::whole(Ram::disk(bytes.to_vec())))
}

#[test]
fn files_and_symbolic_links_are_read_from_every_member_of_the_family() {
    let long = vec![7; 300_000];
    let files: &[(&str, &[u8])] = &[
        ("/boot/grub/grub.conf", b"default 0\n"),
        ("/boot/grub/menu.lst", b"->grub.conf"),
        ("/long", &long),
    ];
    for (family, options) in VARIANTS {
        let disk = ext(options, files);
        let tree = open(&disk).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert_eq!(tree.family(), *family, "{options:?}");
        assert_eq!(tree.read("/boot/grub/menu.lst", 100).unwrap(), b"default 0\n");
        assert_eq!(
            tree.resolve("boot/grub/menu.lst").unwrap(),
            "/boot/grub/grub.conf"
        );
        assert_eq!(tree.read("/long", 300_000).unwrap(), long);
        assert!(!tree.exists("/none").unwrap());
        assert!(matches!(tree.read("/none", 1), Err(ProbeError::NotFound { .. })));
        assert!(matches!(tree.read("/boot", 1), Err(ProbeError::NotAFile { .. })));
        assert_eq!(tree.list("/boot").unwrap()[0].name, "grub");
        assert_eq!(*tree.journal(), Journal::Clean);
    }
}

#[test]
fn a_file_longer_than_its_cap_is_refused_before_anything_is_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let image = ext_file(folder.path(), &["-t", "ext4"], &[("/kernel", b"small")]);
    tool(
        "debugfs",
        &[
            "-w",
            "-R",
            "sif /kernel size 68719476736",
            image.to_str().unwrap(),
        ],
    );
    let error = open(&std::fs::read(image).unwrap())
        .unwrap()
        .read("/kernel", 1 << 20)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "/kernel is 68719476736 bytes long, more than the 1048576 that are allowed"
    );
}

#[test]
fn hazard_a_folder_of_terabytes_ends() {
    let folder = tempfile::tempdir().unwrap();
    let image = ext_file(
        folder.path(),
        &["-t", "ext4", "-O", "^metadata_csum"],
        &[("/boot/x", b"")],
    );
    tool(
        "debugfs",
        &[
            "-w",
            "-R",
            "sif /boot size 17592186044416",
            image.to_str().unwrap(),
        ],
    );
    let started = std::time::Instant::now();
    let tree = open(&std::fs::read(image).unwrap()).unwrap();
    let _ = tree.list("/boot");
    let _ = tree.exists("/boot/none");
    assert!(started.elapsed().as_secs() < 30);
}

#[test]
fn hazard_a_link_of_gigabytes_is_not_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let target = format!("->/{}", "long/".repeat(30));
    let image = ext_file(
        folder.path(),
        &["-t", "ext4", "-O", "^metadata_csum"],
        &[("/boot/menu", target.as_bytes())],
    );
    let script = "sif /boot/menu size 68719476736";
    tool("debugfs", &["-w", "-R", script, image.to_str().unwrap()]);
    let tree = open(&std::fs::read(image).unwrap()).unwrap();
    let error = tree.read("/boot/menu", 1 << 20).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/boot/menu cannot be read: a symbolic link to it says that it is 68719476736 bytes long"
    );
    assert!(tree.exists("/boot/menu").is_err() && tree.list("/boot/menu/").is_err());
}

#[test]
fn hazard_block_groups_that_only_a_feature_would_give_are_not_allocated() {
    let mut disk = ext(&["-t", "ext2"], &[("/a", b"there")]);
    // The high half of the number of blocks, without the feature that gives it a meaning.
    disk[1024 + 0x150..][..4].copy_from_slice(&[0xff; 4]);
    assert_eq!(open(&disk).unwrap().read("/a", 10).unwrap(), b"there");
}

#[test]
fn links_lead_up_down_and_from_the_root_and_a_loop_ends() {
    let disk = ext(
        &["-t", "ext4"],
        &[
            ("/boot/kernel-6", b"kernel"),
            ("/boot/kernel", b"->./kernel-6"),
            ("/vmlinuz", b"->boot/../boot/kernel"),
            ("/boot/up", b"->../../vmlinuz"),
            ("/etc/absolute", b"->/boot"),
            ("/loop", b"->loop"),
        ],
    );
    let tree = open(&disk).unwrap();
    for path in ["/vmlinuz", "boot/up", "/etc/absolute/kernel", "//boot/./kernel"] {
        assert_eq!(tree.read(path, 10).unwrap(), b"kernel", "{path}");
        assert_eq!(tree.resolve(path).unwrap(), "/boot/kernel-6");
    }
    assert_eq!(tree.list("/etc/absolute").unwrap().len(), 3);
    let error = tree.read("/loop", 10).unwrap_err().to_string();
    assert!(error.contains("more than 40 symbolic links"), "{error}");
    assert!(!tree.exists("/vmlinuz/x").unwrap());
}

#[test]
fn uuid_and_label_are_those_that_were_given() {
    let uuid = "0f2f4ec8-8e53-4ef2-a1c5-b7c5d1a5a0aa";
    let disk = ext(&["-t", "ext4", "-U", uuid, "-L", "root"], &[]);
    let found = FileSystem::detect(&Window::whole(Ram::disk(disk.clone()))).unwrap();
    assert_eq!(found.kind, FileSystemKind::Ext("ext4"));
    assert_eq!(found.uuid.as_deref(), Some(uuid));
    assert_eq!(found.label.as_deref(), Some("root"));
    assert_eq!(open(&disk).unwrap().uuid(), uuid);
}

#[test]
fn other_contents_are_told_by_their_name() {
    let at = |offset: usize, magic: &[u8]| {
        let mut head = vec![0; 140 << 10];
        head[offset..offset + magic.len()].copy_from_slice(magic);
        FileSystem::identify(&head).kind.name()
    };
    assert_eq!(at(0, b"XFSB"), "XFS");
    assert_eq!(at(0x10040, b"_BHRfS_M"), "Btrfs");
    assert_eq!(at(3, b"NTFS    "), "NTFS");
    assert_eq!(at(82, b"FAT32   "), "FAT");
    assert_eq!(at(0x8001, b"CD001"), "ISO 9660");
    assert_eq!(at(4086, b"SWAPSPACE2"), "Linux swap");
    assert_eq!(at(0x218, b"LVM2 001"), "LVM2");
    assert_eq!(at(0, b"LUKS\xba\xbe"), "LUKS");
    assert_eq!(at(0, b"hsqs"), "squashfs");
    assert_eq!(at(0x400, b"\x10\x20\xf5\xf2"), "F2FS");
    assert_eq!(at(0x20, b"NXSB"), "APFS");
    assert_eq!(at(0x400, b"H+\0\x04"), "HFS+");
    assert_eq!(at(5, b"x"), "of a kind that is not known");
    assert_eq!(at(5, b""), "empty (only zero bytes)");
}

#[test]
fn a_file_system_that_cannot_be_read_is_named() {
    let mut disk = vec![0; 1 << 20];
    disk[3..11].copy_from_slice(b"NTFS    ");
    let error = open(&disk).err().unwrap().to_string();
    assert_eq!(
        error,
        "the file system is NTFS; only ext2, ext3, ext4, XFS, Btrfs and FAT can be read"
    );
}

#[test]
fn a_partition_of_a_gpt_disk_is_opened_through_its_window() {
    let mut bytes = gpt(&[("root", 16 << 20)], 20 << 20);
    let disk = Ram::disk(bytes.clone());
    let root = PartitionTable::read(&disk).unwrap().partitions[0].clone();
    let inside = ext(&["-t", "ext4"], &[("/a", b"there")]);
    bytes[usize::try_from(root.start).unwrap()..][..inside.len()].copy_from_slice(&inside);
    let disk = Ram::disk(bytes);
    let table = PartitionTable::read(&disk).unwrap();
    assert_eq!(table.kind, TableKind::Gpt);
    let tree = FileTree::open(&table.get(0).unwrap().window(&disk).unwrap()).unwrap();
    assert_eq!(tree.read("/a", 10).unwrap(), b"there");
}

#[test]
fn a_file_system_without_a_table_is_none() {
    let disk = Ram::disk(ext(&["-t", "ext4"], &[]));
    let table = PartitionTable::read(&disk).unwrap();
    assert_eq!((table.kind, table.partitions.len()), (TableKind::None, 0));
}

/// Writes `content` to `/menu` through the journal only, as a forced stop leaves it: `debugfs`
/// copies the blocks of a changed file system into the journal of the unchanged one.
fn with_dirty_journal(folder: &Path, options: &[&str], version: &str) -> Vec<u8> {
    let image = ext_file(folder, options, &[("/menu", b"old"), ("/other", b"kept")]);
    let shown = image.to_str().unwrap();
    let before = std::fs::read(&image).unwrap();
    // The same file with new content in the same block: what differs are the changed blocks.
    let changed = folder.join("changed.img");
    std::fs::write(&changed, &before).unwrap();
    let fresh = folder.join("fresh");
    std::fs::write(&fresh, b"new").unwrap();
    let script = folder.join("script");
    let lines = format!("rm /menu\nwrite {} menu\n", fresh.display());
    std::fs::write(&script, lines).unwrap();
    tool(
        "debugfs",
        &["-w", "-f", script.to_str().unwrap(), changed.to_str().unwrap()],
    );
    let after = std::fs::read(&changed).unwrap();
    let block_size = 1024 << u32::from_le_bytes(before[1048..1052].try_into().unwrap());
    let mut commands = format!("jo{version}\n");
    for (n, (old, new)) in before
        .chunks(block_size)
        .zip(after.chunks(block_size))
        .enumerate()
    {
        // The superblock's own block is left out: its counts do not concern reading.
        if old != new && n > usize::from(block_size == 1024) {
            let block = folder.join(format!("block{n}"));
            std::fs::write(&block, new).unwrap();
            commands += &format!("jw -b {n} {}\n", block.display());
        }
    }
    commands += "jc\n";
    std::fs::write(&script, commands).unwrap();
    tool("debugfs", &["-w", "-f", script.to_str().unwrap(), shown]);
    let bytes = std::fs::read(&image).unwrap();
    assert_ne!(bytes[1024 + 0x60] & 4, 0, "{options:?}: the journal is not dirty");
    bytes
}

#[test]
fn hazard_dirty_journal_of_any_format_is_applied() {
    let journals: &[(&[&str], &str)] = &[
        (&["-t", "ext3"], ""),
        (&["-t", "ext3", "-b", "4096"], ""),
        (&["-t", "ext4", "-O", "^metadata_csum,^64bit"], ""),
        (&["-t", "ext4", "-O", "^metadata_csum"], ""),
        (&["-t", "ext4", "-b", "4096"], " -c -v 3"),
        (&["-t", "ext4", "-O", "metadata_csum,^64bit"], " -c -v 3"),
        (&["-t", "ext4"], " -c -v 2"),
    ];
    for (options, version) in journals {
        let folder = tempfile::tempdir().unwrap();
        let disk = with_dirty_journal(folder.path(), options, version);
        let tree = open(&disk).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert!(
            matches!(tree.journal(), Journal::Replayed { .. }),
            "{:?}",
            tree.journal()
        );
        assert_eq!(tree.read("/menu", 10).unwrap(), b"new", "{options:?}{version}");
        assert_eq!(tree.read("/other", 10).unwrap(), b"kept");
    }
}

/// A file system that a kernel wrote and that was never unmounted (`testdata/dirty-journal.sh`).
fn from_a_kernel(family: &str) -> Vec<u8> {
    let path = format!("{}/testdata/dirty-{family}.img.gz", env!("CARGO_MANIFEST_DIR"));
    let mut disk = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_end(&mut disk)
        .unwrap();
    disk
}

#[test]
fn hazard_dirty_journal_of_a_kernel_is_applied_round_the_end_of_its_ring() {
    for family in ["ext3", "ext4"] {
        let mut disk = from_a_kernel(family);
        let tree = open(&disk).unwrap();
        assert_eq!(tree.family(), family);
        assert!(
            matches!(
                tree.journal(),
                Journal::Replayed {
                    transactions: 2..,
                    ..
                }
            ),
            "{:?}",
            tree.journal()
        );
        assert_eq!(tree.read("/boot/grub/menu.lst", 100).unwrap(), b"generation 92\n");
        assert_eq!(tree.read("/data", 1 << 20).unwrap()[..8], *b"file 90\n");
        assert!(!tree.exists("/gone").unwrap());
        // Without the mark that it needs recovery, the file system shows what was home by then.
        disk[1024 + 0x60] &= !4;
        if family == "ext3" {
            assert_ne!(
                open(&disk).unwrap().read("/boot/grub/menu.lst", 100).ok(),
                Some(b"generation 92\n".to_vec())
            );
        }
    }
}

#[test]
fn hazard_dirty_journal_that_is_damaged_does_not_stop_a_boot() {
    for options in [["-t", "ext3"], ["-t", "ext4"]] {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = with_dirty_journal(folder.path(), &options, "");
        let magic = 0xC03B_3998_u32.to_be_bytes();
        let superblock = disk
            .chunks(1024)
            .position(|block| block.starts_with(&magic))
            .unwrap();
        disk[superblock * 1024..][..4].fill(0);
        let tree = open(&disk).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert!(
            matches!(tree.journal(), Journal::Ignored { .. }),
            "{:?}",
            tree.journal()
        );
        assert_eq!(tree.read("/menu", 10).unwrap(), b"old");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the metadata says, the answer is an error or bytes, soon.
    #[test]
    fn hazard_damaged_metadata_ends_in_an_error_or_in_bytes(
        damage in prop::collection::vec((0_usize..64 << 10, any::<u8>()), 1..40),
        variant in 0..VARIANTS.len(),
    ) {
        static DISKS: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        let disks = DISKS.get_or_init(|| {
            VARIANTS.iter().map(|(_, options)| ext(options, &[("/boot/grub/menu.lst", b"default 0")])).collect()
        });
        let mut disk = disks[variant].clone();
        for (offset, byte) in damage {
            disk[offset] = byte;
        }
        let disk = Ram::disk(disk);
        let _ = PartitionTable::read(&disk);
        if let Ok(tree) = FileTree::open(&Window::whole(Arc::clone(&disk))) {
            let _ = tree.read("/boot/grub/menu.lst", 1 << 16);
            let _ = tree.list("/");
        }
    }

    /// Damage anywhere, a live journal included.
    #[test]
    fn hazard_a_damaged_journal_ends_in_an_error_or_in_bytes(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
        family in 0_usize..2,
    ) {
        // Bytes that are not zero are metadata, or the journal's.
        static DISKS: std::sync::OnceLock<Vec<(Vec<u8>, Vec<usize>)>> = std::sync::OnceLock::new();
        let disks = DISKS.get_or_init(|| {
            let made = ["ext3", "ext4"].map(from_a_kernel).into_iter();
            made.map(|disk| (disk.clone(), (1024..disk.len()).filter(|at| disk[*at] != 0).collect())).collect()
        });
        let (mut disk, used) = disks[family].clone();
        for (at, byte) in damage {
            disk[used[at.index(used.len())]] = byte;
        }
        if let Ok(tree) = open(&disk) {
            let _ = tree.read("/boot/grub/menu.lst", 1 << 16);
            let _ = tree.read("/data", 1 << 20);
            let _ = tree.list("/boot/grub");
        }
    }

    /// Sectors of arbitrary entries.
    #[test]
    fn hazard_arbitrary_tables_end_in_an_error_or_in_partitions(
        tables in prop::collection::vec(prop::collection::vec(any::<u8>(), 66), 1..4),
        places in prop::collection::vec(0_usize..64, 4),
    ) {
        let mut disk = vec![0; 64 << 9];
        for (bytes, place) in tables.iter().zip(std::iter::once(0).chain(places)) {
            disk[place * 512 + 446..][..66].copy_from_slice(bytes);
            disk[place * 512 + 510..][..2].copy_from_slice(&[0x55, 0xAA]);
        }
        let disk = Ram::disk(disk);
        if let Ok(table) = PartitionTable::read(&disk) {
            for partition in &table.partitions {
                let _ = partition.window(&disk).map(|window| FileSystem::detect(&window));
            }
        }
    }
}
