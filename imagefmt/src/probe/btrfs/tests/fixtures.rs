//! File systems made by `mkfs.btrfs`, which takes their files from a folder: nothing is mounted.

use crate::probe::tests::fixtures::{Ram, tool};
use crate::probe::{FileTree, ProbeError, Window};

/// What can differ: the options, and the size that they want, in MiB.
pub(super) const VARIANTS: &[(&str, &[&str], u64)] = &[
    ("mixed", &["-M", "-n", "4096"], 16),
    ("single", &["-m", "single"], 48),
    ("double", &["-m", "dup"], 128),
    ("large nodes", &["-m", "single", "-n", "65536"], 48),
    ("xxhash", &["-M", "--csum", "xxhash"], 16),
    ("sha256", &["-M", "--csum", "sha256"], 16),
    ("blake2", &["-M", "--csum", "blake2"], 16),
    ("old", &["-M", "-O", "^no-holes,^extref,^skinny-metadata"], 16),
];

pub(super) use super::writer::File;

/// A file system of so many MiB made with these options, and these files in it.
pub(super) fn made(options: &[&str], size: u64, files: &[File<'_>]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (tree, image) = (folder.path().join("tree"), folder.path().join("image"));
    std::fs::create_dir(&tree).unwrap();
    for (path, content) in files {
        let path = tree.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix(b"->") {
            Some(target) => {
                std::os::unix::fs::symlink(std::str::from_utf8(target).unwrap(), path).unwrap();
            }
            None => std::fs::write(path, content).unwrap(),
        }
    }
    std::fs::File::create(&image)
        .unwrap()
        .set_len(size << 20)
        .unwrap();
    let mut arguments = vec!["-q", "--rootdir", tree.to_str().unwrap()];
    arguments.extend_from_slice(options);
    arguments.push(image.to_str().unwrap());
    tool("mkfs.btrfs", &arguments);
    std::fs::read(image).unwrap()
}

pub(super) fn window(bytes: &[u8]) -> Window {
    Window::whole(Ram::disk(bytes.to_vec()))
}

pub(super) fn open(bytes: &[u8]) -> Result<FileTree, ProbeError> {
    FileTree::open(&window(bytes))
}

/// `len` bytes that differ from place to place.
pub(super) fn content(len: u32) -> Vec<u8> {
    (0..len).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect()
}

/// A kernel, and a link to it.
pub(super) const FILES: &[File<'_>] = &[("/boot/vmlinuz", b"a kernel"), ("/link", b"->boot/vmlinuz")];

/// What is said of a disk that is not opened; nothing of one that is.
pub(super) fn said(disk: &[u8]) -> String {
    open(disk)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}
