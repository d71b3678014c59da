//! Inodes: what a file is, and how long.
//!
//! Linux, `include/uapi/linux/btrfs_tree.h`, `struct btrfs_inode_item`.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::key::{self, Key};
use super::tree::{Root, Source};
use crate::probe::fault::Fault;
use crate::probe::kind::Kind;

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
        let kind = Kind::of(raw.mode.get()).ok_or_else(damaged)?;
        Ok(Inode {
            number,
            kind,
            len: raw.len.get(),
        })
    }
}
