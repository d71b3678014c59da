//! File systems that Linux itself wrote (`testdata/kernel-written.sh`).

use std::io::Read;

use crate::probe::FileTree;

/// The disk of this name.
pub(crate) fn image(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/{name}.img.gz", env!("CARGO_MANIFEST_DIR"));
    let mut disk = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_end(&mut disk)
        .unwrap();
    disk
}

/// What the script wrote, whatever the file system.
pub(crate) fn has_all_that_was_written(tree: &FileTree) {
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
