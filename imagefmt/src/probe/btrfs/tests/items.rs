//! Items that make no sense: pieces, entries, inodes, subvolumes.

use super::fixtures::{FILES, open, said};
use super::writer::{Key, Piece, ROOTS, TOP, Writer, entry, hash, inode, root};
use crate::probe::ProbeError;

/// What is said of `path` on what was written.
fn said_of(writer: &Writer, path: &str) -> String {
    let tree = open(&writer.bytes()).unwrap();
    tree.read(path, 1 << 20).unwrap_err().to_string()
}

#[test]
fn pieces_folders_and_inodes_that_make_no_sense_are_told() {
    let piece = |piece: Piece, change: &dyn Fn(&mut Vec<u8>)| {
        let mut writer = Writer::default();
        writer.put_pieces(TOP, "/a", 40_000, &[(0, piece)]);
        let key = (writer.inode(TOP, "/a"), 108, 0);
        change(writer.trees.get_mut(&TOP).unwrap().get_mut(&key).unwrap());
        said_of(&writer, "/a")
    };
    let extent = || Piece::Extent(0, 8192, vec![1; 8192], 0, 8192);
    let damaged = "/a cannot be read: a piece of it is damaged";
    for (at, bytes) in [
        // Its kind; its address, which overflows; its part; its length.
        (20, &[3][..]),
        (21, &[0xFF; 8]),
        (37, &[0, 16]),
        (37, &[0xFF; 8]),
        (45, &[1, 32]),
        (45, &[0xFF; 8]),
    ] {
        let said = piece(extent(), &|item| {
            item[at..at + bytes.len()].copy_from_slice(bytes)
        });
        assert!(
            said == damaged || said == "/a cannot be read: a part of it lies in no chunk",
            "{at} {bytes:?}: {said}"
        );
    }
    assert_eq!(piece(extent(), &|item| item.truncate(40)), damaged);
    assert_eq!(piece(extent(), &|item| item.truncate(9)), damaged);
    assert_eq!(
        piece(extent(), &|item| item[17] = 1),
        "/a cannot be read: it is encrypted"
    );
    let inline = Piece::Inline(1, 1 << 30, vec![0; 100]);
    assert_eq!(piece(inline, &|_| ()), damaged);
    // Two that overlap.
    let mut writer = Writer::default();
    writer.put_pieces(TOP, "/a", 40_000, &[(0, extent()), (4096, extent())]);
    assert_eq!(said_of(&writer, "/a"), damaged);

    // Entries that are cut off, or lead to something else; inodes that are missing, short or of no kind.
    let key = (256, 84, hash(b"a"));
    let good = entry(b"a", (300, 1, 0), 1);
    for (content, wanted) in [
        (good[..20].to_vec(), "its folder is damaged"),
        (good[..30].to_vec(), "its folder is damaged"),
        ([good.clone(), vec![1]].concat(), "its folder is damaged"),
        (entry(b"a", (300, 84, 0), 1), "its folder is damaged"),
        (good, "its inode is missing"),
    ] {
        let mut writer = Writer::default();
        writer.item(TOP, key, content);
        assert_eq!(said_of(&writer, "/a"), format!("/a cannot be read: {wanted}"));
    }
    let mut writer = Writer::with(&[("/a", b"")]);
    let number = writer.inode(TOP, "/a");
    for content in [inode(0, 0), vec![0; 20]] {
        writer.item(TOP, (number, 1, 0), content);
        assert_eq!(said_of(&writer, "/a"), "/a cannot be read: its inode is damaged");
    }
}

#[test]
fn a_top_that_is_missing_or_damaged_is_told() {
    let with = |key: Key, tree: u64, content: Option<Vec<u8>>| {
        let mut writer = Writer::with(FILES);
        match content {
            Some(content) => writer.item(tree, key, content),
            None => drop(writer.trees.get_mut(&tree).unwrap().remove(&key)),
        }
        said(&writer.bytes())
    };
    let top = (256, 1, 0);
    assert!(with(top, TOP, None).ends_with("its inode is missing"));
    assert!(with(top, TOP, Some(inode(0o100_644, 0))).ends_with("its subvolume is damaged"));
    assert!(with((TOP, 132, 0), ROOTS, Some(vec![0; 100])).ends_with("its subvolume is damaged"));
    assert!(with((TOP, 132, 0), ROOTS, Some(root(0, 0))).ends_with("a part of it lies in no chunk"));
    let mut writer = Writer::with(FILES);
    writer.trees.remove(&TOP);
    assert!(said(&writer.bytes()).ends_with("it has no topmost folder"));
    // Where the default one, or one of a usual name, is damaged, the rest is read.
    let mut writer = Writer::with(FILES);
    let number = writer.subvolume(TOP, "/@");
    writer.set_default(number);
    writer.item(ROOTS, (number, 132, 0), root(1 << 50, 0));
    let tree = open(&writer.bytes()).unwrap();
    assert_eq!(tree.read("/link", 9).unwrap(), b"a kernel");
}

#[test]
fn hazard_lengths_of_exabytes_of_btrfs_are_not_allocated() {
    let mut writer = Writer::with(FILES);
    for (path, mode) in [("/boot/vmlinuz", 0o100_644), ("/link", 0o120_777)] {
        let number = writer.inode(TOP, path);
        writer.item(TOP, (number, 1, 0), inode(mode, u64::MAX >> 1));
    }
    let tree = open(&writer.bytes()).unwrap();
    let error = tree.read("/boot/vmlinuz", 1 << 20).unwrap_err();
    assert!(matches!(error, ProbeError::TooLong { .. }), "{error}");
    assert_eq!(tree.read_at("/boot/vmlinuz", 1 << 60, 10).unwrap(), [0; 10]);
    let error = tree.read("/link", 10).unwrap_err().to_string();
    assert!(error.starts_with("/link cannot be read: "), "{error}");
}
