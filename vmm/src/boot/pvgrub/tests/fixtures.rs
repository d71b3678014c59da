//! Disks with menus for tests, made by e2fsprogs, dosfstools, xfsprogs and the writer of Btrfs.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kiln_imagefmt::{Access, Disk, RawDisk};

use crate::boot::payload::tests::fixtures::{bzimage, payload, vmlinux};

/// The writer of the tests of Btrfs' reader: mkfs.btrfs makes no subvolumes everywhere.
#[path = "../../../../../imagefmt/src/probe/btrfs/tests/writer.rs"]
#[allow(dead_code, reason = "those tests want more of it")]
pub(crate) mod writer;

use writer::Writer;

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

/// A file system of the ext family with these files.
pub(crate) fn file_system(files: &[File<'_>], options: &[&str]) -> Vec<u8> {
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

/// A FAT file system with these files, made by dosfstools and mtools.
pub(crate) fn fat(family: &str, files: &[File<'_>]) -> Vec<u8> {
    let (bits, size, sectors) = match family {
        "FAT12" => ("12", SIZE >> 10, "4"),
        "FAT16" => ("16", SIZE >> 10, "1"),
        "FAT32" => ("32", 36 << 10, "1"),
        other => panic!("{other}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let shown = image.to_str().unwrap();
    let size = size.to_string();
    tool(
        "mkfs.vfat",
        &[
            "-F", bits, "-s", sectors, "-i", "ABCD1234", "-n", "ESP", "-C", shown, &size,
        ],
    );
    for (path, content) in files {
        let source = folder.path().join("file");
        std::fs::write(&source, content).unwrap();
        let steps: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        for depth in 1..steps.len() {
            let folder = format!("::{}", steps[..depth].join("/"));
            // It may be there already: an answer to each question is "skip".
            tool("mmd", &["-D", "s", "-i", shown, &folder]);
        }
        tool(
            "mcopy",
            &["-i", shown, source.to_str().unwrap(), &format!("::{path}")],
        );
    }
    std::fs::read(image).unwrap()
}

/// An XFS file system with these files, made by xfsprogs from a prototype; nothing is mounted.
pub(crate) fn xfs(files: &[File<'_>], options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let mut sorted = files.to_vec();
    sorted.sort_unstable();
    let mut prototype = "none\n0 0\nd--755 0 0\n".to_owned();
    let mut inside: Vec<&str> = Vec::new();
    for (nth, (path, content)) in sorted.iter().enumerate() {
        let steps: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (name, folders) = steps.split_last().unwrap();
        let same = inside.iter().zip(folders).take_while(|(a, b)| a == b).count();
        prototype += &"$\n".repeat(inside.len() - same);
        for folder in &folders[same..] {
            prototype += &format!("{folder} d--755 0 0\n");
        }
        inside = folders.to_vec();
        let source = folder.path().join(nth.to_string());
        std::fs::write(&source, content).unwrap();
        prototype += &match content.strip_prefix(b"->") {
            Some(target) => format!("{name} l--777 0 0 {}\n", String::from_utf8_lossy(target)),
            None => format!("{name} ---644 0 0 {}\n", source.display()),
        };
    }
    prototype += &"$\n".repeat(inside.len() + 1);
    let (image, list) = (folder.path().join("image"), folder.path().join("prototype"));
    std::fs::write(&list, prototype).unwrap();
    std::fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    // Without the first option nothing below 300 MiB is made.
    let own = ["--unsupported", "-q", "-p", list.to_str().unwrap()];
    tool("mkfs.xfs", &[&own, options, &[image.to_str().unwrap()]].concat());
    std::fs::read(image).unwrap()
}

/// A Btrfs file system with the system's files in a subvolume: of this name (`/@`), or where it is empty at the top.
pub(crate) fn btrfs(subvolume: &str, files: &[File<'_>]) -> Writer {
    let mut writer = Writer::default();
    writer.uuid = uuid::Uuid::parse_str(ROOT_UUID).unwrap().into_bytes();
    let system = match subvolume {
        "" => writer::TOP,
        name => writer.subvolume(writer::TOP, name),
    };
    writer.put_all(system, files);
    writer
}

fn tool(name: &str, arguments: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(name).env("PATH", path).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    // mmd fails if the folder is there.
    assert!(
        output.status.success() || name == "mmd",
        "{name} {arguments:?}: {said}"
    );
}

/// A partition of a GPT: its type, and what is in it.
#[derive(Clone)]
pub(crate) struct Partition {
    kind: String,
    content: Vec<u8>,
}

impl Partition {
    pub(crate) fn new(kind: &str, content: Vec<u8>) -> Partition {
        Partition {
            kind: kind.into(),
            content,
        }
    }

    /// An ext4 file system with these files.
    pub(crate) fn ext(kind: &str, files: &[File<'_>]) -> Partition {
        Partition::ext_with(kind, files, &[])
    }

    /// The same, made with these options.
    pub(crate) fn ext_with(kind: &str, files: &[File<'_>], options: &[&str]) -> Partition {
        Partition::new(kind, file_system(files, &[&["-t", "ext4"], options].concat()))
    }

    /// Takes everything out.
    pub(crate) fn clear(&mut self) {
        self.content.fill(0);
    }
}

/// A disk with a GPT of these partitions, by the UEFI specification's section 5.3.
pub(crate) fn gpt(partitions: &[Partition]) -> Arc<dyn Disk> {
    disk(&gpt_bytes(partitions))
}

pub(crate) fn gpt_bytes(partitions: &[Partition]) -> Vec<u8> {
    let guid = |text: &str| {
        let hex: String = text.chars().filter(|c| *c != '-').collect();
        let mut bytes: Vec<u8> = (0..16)
            .map(|n| u8::from_str_radix(&hex[n * 2..][..2], 16).unwrap())
            .collect();
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    };
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let mut bytes = vec![0; 1 << 20];
    let mut entries = Vec::new();
    for (n, partition) in partitions.iter().enumerate() {
        let first = bytes.len() as u64 / 512;
        bytes.extend_from_slice(&partition.content);
        entries.extend(guid(&partition.kind));
        entries.extend([n as u8 + 1; 16]);
        entries.extend(first.to_le_bytes());
        entries.extend((bytes.len() as u64 / 512 - 1).to_le_bytes());
        entries.extend([0; 80]);
    }
    entries.resize(128 * 128, 0);
    // The first copy, and at the end of the disk the second.
    let at_end = bytes.len();
    bytes.resize(at_end + entries.len() + 512, 0);
    for (at, at_entries) in [(512, 1024), (at_end + entries.len(), at_end)] {
        let block = |at: usize| (at as u64 / 512).to_le_bytes();
        let mut header = b"EFI PART\0\0\x01\0\x5c\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        header.extend(
            [
                block(at),
                0_u64.to_le_bytes(),
                34_u64.to_le_bytes(),
                0_u64.to_le_bytes(),
            ]
            .concat(),
        );
        header.extend([9; 16]);
        header.extend(block(at_entries));
        header.extend([128, 128].map(u32::to_le_bytes).concat());
        header.extend(crc(&entries));
        let sum = crc(&header);
        header[16..20].copy_from_slice(&sum);
        bytes[at..][..header.len()].copy_from_slice(&header);
        bytes[at_entries..][..entries.len()].copy_from_slice(&entries);
    }
    bytes[450] = 0xEE;
    bytes[454] = 1;
    bytes[458..462].fill(0xFF);
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    bytes
}
