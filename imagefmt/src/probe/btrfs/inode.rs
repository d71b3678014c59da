//! Inodes: what a file is, and how long.
//!
//! Linux, `include/uapi/linux/btrfs_tree.h`, `struct btrfs_inode_item`.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::Fault;
use super::key::{self, Key};
use super::tree::{Root, Source};

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawInode {
    _generations: [U64; 2],
    len: U64,
    _blocks: [U64; 2],
    _links: U32,
    _owners: [U32; 2],
    mode: U32,
    _more: [u8; 104],
}

const _: () = assert!(std::mem::offset_of!(RawInode, mode) == 52 && size_of::<RawInode>() == 160);

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    /// Something without content, by its name.
    Special(&'static str),
}

/// An inode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) kind: Kind,
    /// Length of its content in bytes.
    pub(super) len: u64,
}

impl Inode {
    /// Reads the inode `number` of the subvolume whose tree begins at `root`.
    pub(super) fn read(source: &Source, root: Root, number: u64) -> Result<Inode, Fault> {
        let damaged = || Fault::Damaged("its inode is damaged");
        let item = source.find(root, Key::new(number, key::INODE, 0))?;
        let item = item.ok_or(Fault::Damaged("its inode is missing"))?;
        let (raw, _) = RawInode::ref_from_prefix(item.content()).map_err(|_| damaged())?;
        let kind = match raw.mode.get() & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Folder,
            0o120_000 => Kind::Link,
            0o010_000 => Kind::Special("a FIFO"),
            0o140_000 => Kind::Special("a socket"),
            0o020_000 | 0o060_000 => Kind::Special("a device"),
            _ => return Err(damaged()),
        };
        Ok(Inode {
            number,
            kind,
            len: raw.len.get(),
        })
    }
}
