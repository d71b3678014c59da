//! FAT file systems as dosfstools and mtools make them, and as a hostile guest would.

use std::process::Command;
use std::sync::OnceLock;

use proptest::prelude::*;

use crate::probe::tests::fixtures::{Ram, tool};
use crate::probe::{FileSystem, FileSystemKind, FileTree, ProbeError, Window};

/// Kind, width, size in KiB, sectors of a cluster.
const VARIANTS: &[(&str, &str, &str, &str)] = &[
    ("FAT12", "12", "4000", "4"),
    ("FAT16", "16", "9000", "2"),
    ("FAT32", "32", "34000", "1"),
];

const LONG_NAME: &str = "A rather long name, with blanks and ümläuts.Conf";

/// A file system in which `/EFI/Linux` has a file of many clusters in pieces, and a long name.
fn made(variant: usize) -> Vec<u8> {
    static MADE: [OnceLock<Vec<u8>>; 3] = [const { OnceLock::new() }; 3];
    MADE[variant].get_or_init(|| make(variant)).clone()
}

fn make(variant: usize) -> Vec<u8> {
    let (_, bits, size, sectors) = VARIANTS[variant];
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let shown = image.to_str().unwrap();
    tool(
        "mkfs.vfat",
        &[
            "-F", bits, "-s", sectors, "-i", "ABCD1234", "-n", "BOOT", "-C", shown, size,
        ],
    );
    let copy = |content: &[u8], path: &str| {
        let file = folder.path().join("file");
        std::fs::write(&file, content).unwrap();
        tool("mcopy", &["-i", shown, file.to_str().unwrap(), path]);
    };
    for folder in ["::EFI", "::EFI/Linux", "::many"] {
        tool("mmd", &["-i", shown, folder]);
    }
    // Holes of a cluster each, so that what comes next lies in pieces.
    for n in 0..40 {
        copy(&[n; 3000], &format!("::many/file{n}"));
    }
    for n in (0..40).step_by(2) {
        tool("mdel", &["-i", shown, &format!("::many/file{n}")]);
    }
    copy(&long(), "::EFI/Linux/kernel.efi");
    copy(b"short", &format!("::EFI/{LONG_NAME}"));
    copy(b"eight", "::README.TXT");
    // FAT32 is never smaller; nothing lies in its second half.
    let mut disk = std::fs::read(image).unwrap();
    disk.truncate(16 << 20);
    disk
}

fn long() -> Vec<u8> {
    (0..300_000_u32).flat_map(|n| [n as u8, (n >> 8) as u8]).collect()
}

fn window(bytes: &[u8]) -> Window {
    Window::whole(Ram::disk(bytes.to_vec()))
}

#[test]
fn files_of_every_width_are_read_by_long_and_short_names_in_any_case() {
    for (variant, (family, ..)) in VARIANTS.iter().enumerate() {
        let disk = made(variant);
        let tree = FileTree::open(&window(&disk)).unwrap();
        assert_eq!(tree.family(), *family);
        assert!(tree.read("/EFI/Linux/kernel.efi", 1 << 20).unwrap() == long());
        assert!(
            tree.read_at("/efi/LINUX/../linux/kernel.efi", 100_000, 5000)
                .unwrap()
                == long()[100_000..105_000]
        );
        assert!(tree.read_at("/EFI/Linux/kernel.efi", 599_999, 5000).unwrap() == long()[599_999..]);
        assert_eq!(tree.read_at("/EFI/Linux/kernel.efi", 600_001, 5).unwrap(), b"");
        assert_eq!(tree.read(&format!("/EFI/{LONG_NAME}"), 10).unwrap(), b"short");
        assert_eq!(tree.read("/readme.txt", 10).unwrap(), b"eight");
        let names: Vec<String> = tree
            .list("/efi")
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(names, [LONG_NAME, "Linux"]);
        assert_eq!(tree.list("/many").unwrap().len(), 20);
        assert!(tree.exists("/EFI").unwrap() && !tree.exists("/EFI/none").unwrap());
        assert!(matches!(tree.read("/none", 1), Err(ProbeError::NotFound { .. })));
        assert!(matches!(
            tree.read("/readme.txt/x", 1),
            Err(ProbeError::NotFound { .. })
        ));
        assert!(matches!(tree.read("/EFI", 1), Err(ProbeError::NotAFile { .. })));
        assert!(matches!(
            tree.read("/readme.txt", 4),
            Err(ProbeError::TooLong { len: 5, .. })
        ));
    }
}

#[test]
fn the_serial_number_and_the_label_are_those_that_were_given() {
    for variant in 0..VARIANTS.len() {
        let found = FileSystem::detect(&window(&made(variant))).unwrap();
        assert_eq!(found.kind, FileSystemKind::Fat);
        assert_eq!(found.uuid.as_deref(), Some("ABCD-1234"));
        assert_eq!(found.label.as_deref(), Some("BOOT"));
    }
}

#[test]
fn another_implementation_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for variant in 0..VARIANTS.len() {
        let disk = made(variant);
        let image = folder.path().join("image");
        std::fs::write(&image, &disk).unwrap();
        let tree = FileTree::open(&window(&disk)).unwrap();
        for entry in tree.list("/many").unwrap() {
            let path = format!("/many/{}", entry.name);
            let output = Command::new("mtype")
                .arg("-i")
                .arg(&image)
                .arg(format!("::{path}"))
                .output()
                .unwrap();
            assert!(tree.read(&path, 1 << 20).unwrap() == output.stdout, "{path}");
        }
    }
}

#[test]
fn hazard_chains_that_loop_or_leave_the_disk_end() {
    let mut disk = made(1);
    let tree = FileTree::open(&window(&disk)).unwrap();
    assert!(tree.read("/EFI/Linux/kernel.efi", 1 << 20).is_ok());
    // Every cluster is followed by the third.
    let table = usize::from(u16::from_le_bytes([disk[14], disk[15]])) * 512;
    let len = usize::from(u16::from_le_bytes([disk[22], disk[23]])) * 512;
    for entry in disk[table + 4..table + len].chunks_exact_mut(2) {
        entry.copy_from_slice(&[3, 0]);
    }
    let tree = FileTree::open(&window(&disk)).unwrap();
    let _ = tree.list("/EFI/Linux");
    let _ = tree.read("/many/file1", 1 << 20);
    for entry in disk[table + 4..table + len].chunks_exact_mut(2) {
        entry.copy_from_slice(&[0xF0, 0xFF]);
    }
    let tree = FileTree::open(&window(&disk)).unwrap();
    let error = tree.read("/many/file1", 1 << 20).unwrap_err().to_string();
    assert_eq!(
        error,
        "the FAT file system cannot be read: it lies in a cluster that does not exist"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the metadata says, the answer is an error or bytes, soon.
    #[test]
    fn hazard_a_damaged_fat_ends_in_an_error_or_in_bytes(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
        head in prop::collection::vec((11_usize..90, any::<u8>()), 0..3),
        variant in 0..VARIANTS.len(),
    ) {
        // Bytes that are not zero are metadata for the most part.
        type Made = (Vec<u8>, Vec<usize>);
        static DISKS: OnceLock<Vec<Made>> = OnceLock::new();
        let disks = DISKS.get_or_init(|| {
            let made = (0..VARIANTS.len()).map(made);
            made.map(|disk| {
                let used = (90..disk.len().min(2 << 20)).filter(|at| disk[*at] != 0).collect();
                (disk, used)
            })
            .collect()
        });
        let (mut disk, used) = disks[variant].clone();
        for (at, byte) in damage {
            disk[used[at.index(used.len())]] = byte;
        }
        for (at, byte) in head {
            disk[at] = byte;
        }
        if let Ok(tree) = FileTree::open(&window(&disk)) {
            let _ = tree.list("/");
            let _ = tree.list("/EFI");
            let _ = tree.read("/EFI/Linux/kernel.efi", 1 << 20);
            let _ = tree.read_at("/EFI/Linux/kernel.efi", 70_000, 5000);
        }
    }
}
