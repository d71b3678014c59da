//! The files of a file system that can be read, whichever it is.

use super::btrfs::BtrfsTree;
use super::ext::ExtTree;
use super::fat::FatTree;
use super::signatures::REACH;
use super::xfs::XfsTree;
use super::{FileSystem, FileSystemKind, FolderEntry, Journal, ProbeError, Window};

/// The files of an ext2, ext3, ext4, XFS, Btrfs or FAT file system, read only.
///
/// It belongs to one thread: the readers keep caches without locks.
pub struct FileTree(Tree);

enum Tree {
    Ext(Box<ExtTree>),
    Xfs(XfsTree),
    Btrfs(Box<BtrfsTree>),
    Fat(FatTree),
}

impl FileTree {
    /// Opens the file system in `window`. One of another kind is [`ProbeError::Unsupported`],
    /// which names it.
    pub fn open(window: &Window) -> Result<FileTree, ProbeError> {
        let head = window.read_up_to(0, REACH)?;
        let found = FileSystem::identify(&head);
        Ok(FileTree(match found.kind {
            FileSystemKind::Ext(family) => Tree::Ext(Box::new(ExtTree::open(window, &head, family)?)),
            FileSystemKind::Xfs => Tree::Xfs(XfsTree::open(window, &head)?),
            FileSystemKind::Btrfs => Tree::Btrfs(Box::new(BtrfsTree::open(window, &head)?)),
            FileSystemKind::Fat => Tree::Fat(FatTree::open(window, &head)?),
            kind => {
                return Err(ProbeError::Unsupported {
                    found: kind.name().into(),
                });
            }
        }))
    }

    /// `ext2`, `ext3`, `ext4`, `XFS`, `Btrfs`, `FAT12`, `FAT16` or `FAT32`.
    pub fn family(&self) -> &'static str {
        match &self.0 {
            Tree::Ext(tree) => tree.family(),
            Tree::Xfs(_) => "XFS",
            Tree::Btrfs(_) => "Btrfs",
            Tree::Fat(tree) => tree.family(),
        }
    }

    /// What became of the journal.
    pub fn journal(&self) -> &Journal {
        match &self.0 {
            Tree::Ext(tree) => tree.journal(),
            Tree::Xfs(tree) => tree.journal(),
            Tree::Btrfs(tree) => tree.journal(),
            Tree::Fat(_) => &Journal::Clean,
        }
    }

    /// Its UUID, as `UUID=` on a kernel's command line wants it.
    pub fn uuid(&self) -> String {
        match &self.0 {
            Tree::Ext(tree) => tree.uuid(),
            Tree::Xfs(tree) => tree.uuid(),
            Tree::Btrfs(tree) => tree.uuid(),
            Tree::Fat(tree) => tree.uuid(),
        }
    }

    /// The bytes of the file at `path`, symbolic links followed; an error if it is longer than
    /// `cap` bytes. The length that the file system claims is checked before anything is allocated.
    pub fn read(&self, path: &str, cap: u64) -> Result<Vec<u8>, ProbeError> {
        let len = match &self.0 {
            Tree::Ext(tree) => return tree.read(path, cap),
            Tree::Xfs(tree) => tree.len(path)?,
            Tree::Btrfs(tree) => tree.len(path)?,
            Tree::Fat(tree) => tree.len(path)?,
        };
        if len > cap {
            return Err(ProbeError::TooLong {
                path: path.into(),
                len,
                cap,
            });
        }
        self.read_at(path, 0, usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// No more than `len` bytes of the file at `path` from `offset` on; fewer where it ends before.
    pub fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, ProbeError> {
        match &self.0 {
            Tree::Ext(tree) => tree.read_at(path, offset, len),
            Tree::Xfs(tree) => tree.read_at(path, offset, len),
            Tree::Btrfs(tree) => tree.read_at(path, offset, len),
            Tree::Fat(tree) => tree.read_at(path, offset, len),
        }
    }

    /// Whether there is anything at `path`, symbolic links followed.
    pub fn exists(&self, path: &str) -> Result<bool, ProbeError> {
        match &self.0 {
            Tree::Ext(tree) => tree.exists(path),
            Tree::Xfs(tree) => tree.exists(path),
            Tree::Btrfs(tree) => tree.exists(path),
            Tree::Fat(tree) => tree.exists(path),
        }
    }

    /// The path that `path` leads to once symbolic links are followed.
    pub fn resolve(&self, path: &str) -> Result<String, ProbeError> {
        match &self.0 {
            Tree::Ext(tree) => tree.resolve(path),
            Tree::Xfs(tree) => tree.resolve(path),
            Tree::Btrfs(tree) => tree.resolve(path),
            Tree::Fat(tree) => match tree.exists(path)? {
                true => Ok(path.into()),
                false => Err(ProbeError::NotFound { path: path.into() }),
            },
        }
    }

    /// What is in the folder at `path`, by name; of ext, XFS and Btrfs no more than the first 10,000 entries.
    pub fn list(&self, path: &str) -> Result<Vec<FolderEntry>, ProbeError> {
        match &self.0 {
            Tree::Ext(tree) => tree.list(path),
            Tree::Xfs(tree) => tree.list(path),
            Tree::Btrfs(tree) => tree.list(path),
            Tree::Fat(tree) => tree.list(path),
        }
    }

    /// Where the bytes of the file at `path` lie in the window: first byte and length of each piece, in
    /// their order. An error where they must not be written in place.
    pub(super) fn pieces(&self, path: &str) -> Result<Vec<(u64, u64)>, ProbeError> {
        match &self.0 {
            Tree::Ext(tree) => tree.pieces(path),
            Tree::Xfs(_) => Err(ProbeError::InPlace {
                path: path.into(),
                reason: "XFS is read only".into(),
            }),
            Tree::Btrfs(_) => Err(ProbeError::InPlace {
                path: path.into(),
                reason: "Btrfs is read only".into(),
            }),
            Tree::Fat(tree) => tree.pieces(path),
        }
    }
}
