//! Which file system is in a partition, and what it is called.

use super::btrfs::superblock as btrfs;
use super::ext::superblock::Superblock;
use super::fat::boot_sector::BootSector;
use super::signatures::{REACH, SIGNATURES};
use super::xfs::superblock as xfs;
use super::{ProbeError, Window};

/// What was found in a partition or on an unpartitioned disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Which one.
    pub kind: FileSystemKind,
    /// Its UUID, as `UUID=` on a kernel's command line wants it; known for the file systems that
    /// Linux can have its root on.
    pub uuid: Option<String>,
    /// Its label, if it has one.
    pub label: Option<String>,
}

/// A file system, or what else can fill a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystemKind {
    /// ext2, ext3 or ext4; can be read ([`super::FileTree`]).
    Ext(&'static str),
    /// XFS; can be read, too.
    Xfs,
    /// Btrfs; can be read, too.
    Btrfs,
    /// FAT12, FAT16 or FAT32; can be read, too.
    Fat,
    /// Another one, by its name.
    Other(&'static str),
    /// Only zero bytes where marks would be.
    Empty,
    /// Something, but nothing that is known.
    Unknown,
}

impl FileSystemKind {
    /// The name, as a message shows it.
    pub fn name(self) -> &'static str {
        match self {
            FileSystemKind::Ext(name) | FileSystemKind::Other(name) => name,
            FileSystemKind::Xfs => "XFS",
            FileSystemKind::Btrfs => "Btrfs",
            FileSystemKind::Fat => "FAT",
            FileSystemKind::Empty => "empty (only zero bytes)",
            FileSystemKind::Unknown => "of a kind that is not known",
        }
    }
}

impl std::fmt::Display for FileSystemKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FileSystem {
    /// Says what is in `window`, by its marks.
    pub fn detect(window: &Window) -> Result<FileSystem, ProbeError> {
        Ok(FileSystem::identify(&window.read_up_to(0, REACH)?))
    }

    /// Says what a partition is that begins with the bytes `head`.
    pub fn identify(head: &[u8]) -> FileSystem {
        if let Some(superblock) = Superblock::parse(head) {
            return FileSystem {
                kind: match superblock.is_journal() {
                    true => FileSystemKind::Other("an external ext journal"),
                    false => FileSystemKind::Ext(superblock.family()),
                },
                uuid: Some(superblock.uuid().to_string()),
                label: superblock.label(),
            };
        }
        let found = SIGNATURES.iter().find(|signature| {
            head.get(signature.offset..)
                .is_some_and(|rest| rest.starts_with(signature.magic))
        });
        if found.is_some_and(|signature| signature.name == "FAT") {
            let sector = BootSector::parse(head);
            return FileSystem {
                kind: FileSystemKind::Fat,
                uuid: sector.as_ref().and_then(BootSector::uuid),
                label: sector.as_ref().and_then(BootSector::label),
            };
        }
        if found.is_some_and(|signature| signature.name == "XFS") {
            return FileSystem {
                kind: FileSystemKind::Xfs,
                uuid: uuid("XFS", head),
                label: xfs::label(head),
            };
        }
        if found.is_some_and(|signature| signature.name == "Btrfs") {
            return FileSystem {
                kind: FileSystemKind::Btrfs,
                uuid: uuid("Btrfs", head),
                label: btrfs::label(head),
            };
        }
        let kind = match found {
            Some(signature) => FileSystemKind::Other(signature.name),
            None if head.iter().all(|byte| *byte == 0) => FileSystemKind::Empty,
            None => FileSystemKind::Unknown,
        };
        FileSystem {
            kind,
            uuid: uuid(kind.name(), head),
            label: None,
        }
    }
}

/// The UUID of the file systems that Linux can have its root on.
fn uuid(name: &str, head: &[u8]) -> Option<String> {
    let offset = match name {
        "XFS" => 0x20,
        "Btrfs" => 0x1_0020,
        "F2FS" => 0x46c,
        _ => return None,
    };
    let bytes: [u8; 16] = head.get(offset..)?.first_chunk().copied()?;
    (bytes != [0; 16]).then(|| uuid::Uuid::from_bytes(bytes).to_string())
}
