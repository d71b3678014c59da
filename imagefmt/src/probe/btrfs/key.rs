//! Keys: what everything in a tree of Btrfs is sorted and found by.
//!
//! Linux, `include/uapi/linux/btrfs_tree.h`, `struct btrfs_disk_key`.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// An inode.
pub(super) const INODE: u8 = 1;
/// An entry of a folder, by the hash of its name.
pub(super) const ENTRY: u8 = 84;
/// An entry of a folder, by its place in it.
pub(super) const PLACE: u8 = 96;
/// A piece of a file.
pub(super) const EXTENT: u8 = 108;
/// A tree, which may be a subvolume.
pub(super) const ROOT: u8 = 132;
/// A range of addresses, and where it lies on the disk.
pub(super) const CHUNK: u8 = 228;

/// A key, in the order of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// What the item belongs to, such as an inode's number.
    pub(super) object: u64,
    /// Of which kind it is.
    pub(super) kind: u8,
    /// Which one of that kind; what this means is the kind's affair.
    pub(super) offset: u64,
}

impl Key {
    pub(super) fn new(object: u64, kind: u8, offset: u64) -> Key {
        Key { object, kind, offset }
    }

    /// Whether it is one of this kind, of the same object.
    pub(super) fn is_of(self, object: u64, kind: u8) -> bool {
        (self.object, self.kind) == (object, kind)
    }
}

/// A key on the disk.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawKey {
    object: U64,
    kind: u8,
    offset: U64,
}

impl RawKey {
    pub(super) fn get(self) -> Key {
        Key::new(self.object.get(), self.kind, self.offset.get())
    }
}
