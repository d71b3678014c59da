//! Contents, links, and what the superblock says.

use super::fixtures::{VARIANTS, content, made, open, window};
use crate::probe::{FileSystem, FileSystemKind, Journal, ProbeError};

#[test]
fn files_and_links_are_read_from_every_variant() {
    let long = content(3_000_001);
    let target = format!("->/{}boot/real", "boot/../".repeat(28));
    let files: &[(&str, &[u8])] = &[
        ("/boot/grub2/grub.cfg", b"menuentry a { linux /vmlinuz }\n"),
        ("/boot/grub2/link", b"->./grub.cfg"),
        ("/boot/real", &long),
        ("/boot/empty", b""),
        ("/vmlinuz", target.as_bytes()),
        ("/loop", b"->loop"),
        ("/etc/absolute", b"->/boot"),
    ];
    for (name, options) in VARIANTS {
        let disk = made(options, files);
        let tree = open(&disk).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (tree.family(), tree.journal()),
            ("XFS", &Journal::Clean),
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
    }
}

#[test]
fn uuid_and_label_are_those_that_were_given() {
    let uuid = "0f2f4ec8-8e53-4ef2-a1c5-b7c5d1a5a0aa";
    let given = format!("uuid={uuid}");
    let disk = made(&["-m", &given, "-L", "root-of-xfs"], &[("/a", b"there")]);
    let found = FileSystem::detect(&window(&disk)).unwrap();
    assert_eq!(found.kind, FileSystemKind::Xfs);
    assert_eq!(found.uuid.as_deref(), Some(uuid));
    assert_eq!(found.label.as_deref(), Some("root-of-xfs"));
    let tree = open(&disk).unwrap();
    assert_eq!(tree.uuid(), uuid);
    assert_eq!(tree.read("/a", 9).unwrap(), b"there");
}

#[test]
fn a_changed_uuid_leaves_metadata_readable() {
    use crate::probe::tests::fixtures::tool;
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::write(&image, made(&[], &[("/a/b", b"there")])).unwrap();
    let uuid = "11111111-2222-3333-4444-555555555555";
    tool("xfs_admin", &["-U", uuid, image.to_str().unwrap()]);
    let tree = open(&std::fs::read(image).unwrap()).unwrap();
    assert_eq!(tree.uuid(), uuid);
    assert_eq!(tree.read("/a/b", 9).unwrap(), b"there");
}

#[test]
fn names_that_know_no_case_are_found_in_any() {
    let disk = made(&["-n", "version=ci"], &[("/Boot/VMLINUZ", b"there")]);
    assert_eq!(open(&disk).unwrap().read("/bOOt/vmlinuz", 9).unwrap(), b"there");
    let disk = made(&[], &[("/Boot/VMLINUZ", b"there")]);
    assert!(!open(&disk).unwrap().exists("/boot/VMLINUZ").unwrap());
}
