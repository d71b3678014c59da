//! Disks with menus for tests, made by e2fsprogs.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kiln_imagefmt::{Access, Disk, RawDisk};

use crate::boot::payload::tests::fixtures::{bzimage, payload, vmlinux};

/// The UUID of the file system of [`unpartitioned`].
pub(crate) const ROOT_UUID: &str = "11111111-2222-3333-4444-555555555555";

/// Bytes of each file system.
const SIZE: usize = 8 << 20;

/// A file: path and content; content that begins with `->` makes a symbolic link.
pub(crate) type File<'a> = (&'a str, &'a [u8]);

/// A kernel.
pub(crate) fn kernel() -> Vec<u8> {
    bzimage(&payload(&["gzip", "-n"], &vmlinux(1000)))
}

/// An ext4 file system with these files.
fn file_system(files: &[File<'_>], options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
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
    let image = folder.path().join("image");
    mke2fs(&tree, &image, options);
    std::fs::read(image).unwrap()
}

fn mke2fs(tree: &Path, image: &Path, options: &[&str]) {
    let output = Command::new("mke2fs")
        .env(
            "PATH",
            format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()),
        )
        .args(["-q", "-F", "-d"])
        .arg(tree)
        .args(options)
        .arg(image)
        .arg(format!("{}k", SIZE >> 10))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// These bytes as a disk.
pub(crate) fn disk(bytes: &[u8]) -> Arc<dyn Disk> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Arc::new(RawDisk::open(file.reopen().unwrap(), Access::ReadOnly).unwrap())
}

/// A disk that is one ext4 file system with these files.
pub(crate) fn unpartitioned(files: &[File<'_>]) -> Arc<dyn Disk> {
    disk(&file_system(files, &["-t", "ext4", "-U", ROOT_UUID]))
}

/// The same as another member of the family.
pub(crate) fn unpartitioned_as(family: &str, files: &[File<'_>]) -> Arc<dyn Disk> {
    disk(&file_system(files, &["-t", family, "-U", ROOT_UUID]))
}

/// A disk with an MBR and a partition for each list of files.
pub(crate) fn partitioned(partitions: &[&[File<'_>]]) -> Arc<dyn Disk> {
    disk(&partitioned_bytes(partitions))
}

pub(crate) fn partitioned_bytes(partitions: &[&[File<'_>]]) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    for (n, files) in partitions.iter().enumerate() {
        let first = u32::try_from(bytes.len() / 512).unwrap();
        let entry = &mut bytes[446 + n * 16..][..16];
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&u32::try_from(SIZE / 512).unwrap().to_le_bytes());
        bytes.extend(file_system(files, &["-t", "ext4"]));
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    bytes
}
