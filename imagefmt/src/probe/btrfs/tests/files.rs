//! Contents, links, folders, and what the superblock says.

use super::fixtures::{VARIANTS, content, made, open, window};
use super::writer::{Piece, SECTOR, TOP, Writer, entry, hash};
use crate::probe::{FileSystem, FileSystemKind, Journal, ProbeError};

#[test]
fn files_and_links_are_read_from_every_variant_of_btrfs() {
    let long = content(3_000_001);
    let target = format!("->/{}boot/real", "boot/../".repeat(28));
    let many: Vec<String> = (0..700).map(|n| format!("/many/a-name-{n}")).collect();
    let mut files: Vec<(&str, &[u8])> = vec![
        ("/boot/grub2/grub.cfg", b"menuentry a { linux /vmlinuz }\n"),
        ("/boot/grub2/link", b"->./grub.cfg"),
        ("/boot/real", &long),
        ("/boot/empty", b""),
        ("/vmlinuz", target.as_bytes()),
        ("/loop", b"->loop"),
        ("/etc/absolute", b"->/boot"),
    ];
    files.extend(many.iter().map(|path| (path.as_str(), path.as_bytes())));
    for (name, options, size) in VARIANTS {
        let disk = made(options, *size, &files);
        let tree = open(&disk).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (tree.family(), tree.journal()),
            ("Btrfs", &Journal::Clean),
            "{name}"
        );
        assert_eq!(tree.read("/boot/grub2/link", 100).unwrap(), files[0].1, "{name}");
        assert_eq!(tree.resolve("boot/grub2/link").unwrap(), "/boot/grub2/grub.cfg");
        for path in ["/vmlinuz", "//etc/absolute/./real", "/etc/../boot/real"] {
            assert!(tree.read(path, 4 << 20).unwrap() == long, "{name} {path}");
            assert_eq!(tree.resolve(path).unwrap(), "/boot/real");
        }
        for (at, len) in [(0, 10), (511, 2), (4095, 70_000), (2_999_999, 10), (3_000_001, 1)] {
            let wanted = &long[at.min(long.len())..(at + len).min(long.len())];
            assert!(
                tree.read_at("/vmlinuz", at as u64, len).unwrap() == wanted,
                "{name} {at}"
            );
        }
        assert_eq!(tree.read("/boot/empty", 0).unwrap(), b"");
        assert!(tree.exists("/").unwrap() && tree.exists("/etc/absolute").unwrap());
        for path in ["/none", "/vmlinuz/x", "/boot/none/x"] {
            assert!(!tree.exists(path).unwrap(), "{name} {path}");
            assert!(matches!(tree.read(path, 1), Err(ProbeError::NotFound { .. })));
        }
        assert!(matches!(tree.read("/boot", 1), Err(ProbeError::NotAFile { .. })));
        assert!(matches!(
            tree.read("/vmlinuz", 10),
            Err(ProbeError::TooLong { len: 3_000_001, .. })
        ));
        let error = tree.read("/loop", 10).unwrap_err().to_string();
        assert!(error.contains("more than 40 symbolic links"), "{error}");
        let mut wanted: Vec<String> = many.iter().map(|path| path[6..].to_owned()).collect();
        wanted.sort();
        let listed = tree.list("/many").unwrap();
        assert!(listed.iter().map(|entry| &entry.name).eq(&wanted), "{name}");
        let folders: Vec<bool> = tree
            .list("/")
            .unwrap()
            .iter()
            .map(|entry| entry.is_folder)
            .collect();
        assert_eq!(folders, [true, true, false, true, false], "{name}");
        for path in many.iter().step_by(97) {
            assert_eq!(tree.read(path, 40).unwrap(), path.as_bytes());
        }
    }
}

#[test]
fn uuid_and_label_of_btrfs_are_those_that_were_given() {
    let uuid = "0f2f4ec8-8e53-4ef2-a1c5-b7c5d1a5a0aa";
    let disk = made(
        &["-M", "-U", uuid, "-L", "root-of-btrfs"],
        16,
        &[("/a", b"there")],
    );
    let found = FileSystem::detect(&window(&disk)).unwrap();
    assert_eq!(found.kind, FileSystemKind::Btrfs);
    assert_eq!(found.uuid.as_deref(), Some(uuid));
    assert_eq!(found.label.as_deref(), Some("root-of-btrfs"));
    let tree = open(&disk).unwrap();
    assert_eq!(tree.uuid(), uuid);
    assert_eq!(tree.read("/a", 9).unwrap(), b"there");
}

#[test]
fn a_changed_uuid_leaves_metadata_of_btrfs_readable() {
    use crate::probe::tests::fixtures::tool;
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::write(&image, made(&["-M"], 16, &[("/a/b", b"there")])).unwrap();
    let uuid = "11111111-2222-3333-4444-555555555555";
    tool("btrfstune", &["-f", "-M", uuid, image.to_str().unwrap()]);
    let tree = open(&std::fs::read(image).unwrap()).unwrap();
    assert_eq!(tree.uuid(), uuid);
    assert_eq!(tree.read("/a/b", 9).unwrap(), b"there");
}

#[test]
fn a_file_is_read_through_every_kind_of_piece() {
    let data = content(40 * SECTOR as u32);
    let sectors = |first: usize, count: usize| data[first * SECTOR..][..count * SECTOR].to_vec();
    let at = |sector: usize| (sector * SECTOR) as u64;
    let mut writer = Writer::default();
    let len = at(60) + 100;
    writer.put_pieces(
        TOP,
        "/boot/pieces",
        len,
        &[
            (0, Piece::Inline(0, 700, data[..700].to_vec())),
            (
                at(1),
                Piece::Extent(0, 4 * SECTOR, sectors(1, 4), SECTOR, 2 * SECTOR),
            ),
            (at(3), Piece::Hole(5 * SECTOR)),
            (at(8), Piece::SetAside(3 * SECTOR)),
            (at(11), Piece::Extent(0, SECTOR, sectors(11, 1), 0, SECTOR)),
            // Nothing says that sectors 12 to 19 are a hole.
            (
                at(20),
                Piece::Extent(0, 10 * SECTOR, sectors(20, 10), 0, 10 * SECTOR),
            ),
            // Longer than the file.
            (at(60), Piece::Extent(0, SECTOR, sectors(30, 1), 0, SECTOR)),
        ],
    );
    let mut wanted = vec![0; len as usize];
    for (place, bytes) in [
        (0, data[..700].to_vec()),
        (1, sectors(2, 2)),
        (11, sectors(11, 1)),
        (20, sectors(20, 10)),
        (60, data[30 * SECTOR..][..100].to_vec()),
    ] {
        wanted[place * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
    }
    for node_size in [4096, 16 << 10] {
        writer.node_size = node_size;
        let tree = open(&writer.bytes()).unwrap();
        assert!(tree.read("/boot/pieces", len).unwrap() == wanted);
        for start in (0..wanted.len()).step_by(1777) {
            for len in [1, 100, 5000, 70_000] {
                let end = (start + len).min(wanted.len());
                let read = tree.read_at("/boot/pieces", start as u64, len).unwrap();
                assert!(read == wanted[start..end], "{start}..{end}");
            }
        }
    }
    // A file of which nothing is there but its length.
    writer.put_pieces(
        TOP,
        "/boot/far",
        5_000_000_010,
        &[(4_999_999_488, Piece::Hole(4096))],
    );
    let tree = open(&writer.bytes()).unwrap();
    assert_eq!(tree.read_at("/boot/far", 4_999_999_997, 100).unwrap(), [0; 13]);
}

#[test]
fn names_whose_hashes_are_the_same_are_told_apart() {
    let (one, two) = ("pn40ro5ddm4y", "ow36p3blt12w");
    assert_eq!(hash(one.as_bytes()), hash(two.as_bytes()));
    let tree = open(&Writer::with(&[(one, b"one"), (two, b"two"), ("/x", b"x")]).bytes()).unwrap();
    assert_eq!(tree.read(one, 9).unwrap(), b"one");
    assert_eq!(tree.read(two, 9).unwrap(), b"two");
    assert_eq!(tree.list("/").unwrap().len(), 3);
}

#[test]
fn a_tree_of_many_levels_is_searched_and_listed() {
    let mut writer = Writer::default();
    let names: Vec<String> = (0..9000)
        .map(|n| format!("{n:05}-{}", "x".repeat(n % 60)))
        .collect();
    for name in &names {
        writer.put(TOP, &format!("/many/{name}"), b"");
    }
    writer.put(TOP, "/many/last", b"there");
    let tree = open(&writer.bytes()).unwrap();
    let listed = tree.list("/many").unwrap();
    assert!(listed.iter().map(|entry| &entry.name).take(9000).eq(&names));
    for name in names.iter().step_by(613) {
        assert!(tree.exists(&format!("/many/{name}")).unwrap());
        assert!(!tree.exists(&format!("/many/{name}-")).unwrap());
    }
    assert_eq!(tree.read("/many/last", 9).unwrap(), b"there");
}

#[test]
fn no_more_than_ten_thousand_entries_of_a_folder_are_listed() {
    let mut writer = Writer::default();
    for n in 0..10_100_u64 {
        writer.item(TOP, (256, 96, n), entry(n.to_string().as_bytes(), (300, 1, 0), 1));
    }
    let tree = open(&writer.bytes()).unwrap();
    assert_eq!(tree.list("/").unwrap().len(), 10_000);
}

#[test]
fn what_is_no_file_is_named() {
    let mut writer = Writer::with(&[("/a", b"")]);
    let number = writer.inode(TOP, "/a");
    for (mode, what) in [
        (0o010_000, "a FIFO"),
        (0o140_000, "a socket"),
        (0o060_000, "a device"),
    ] {
        writer.item(TOP, (number, 1, 0), super::writer::inode(mode, 0));
        let error = open(&writer.bytes()).unwrap().read("/a", 9).unwrap_err();
        assert_eq!(error.to_string(), format!("/a is {what}, not a file"));
    }
}

#[test]
fn hazard_a_log_of_btrfs_that_was_not_replayed_is_told() {
    let mut writer = Writer::with(&[("/a", b"there")]);
    writer.has_log = true;
    let tree = open(&writer.bytes()).unwrap();
    let reason = "the log of Btrfs is not replayed; files show as of the last commit".to_owned();
    assert_eq!(*tree.journal(), Journal::Ignored { reason });
    assert_eq!(tree.read("/a", 9).unwrap(), b"there");
}
