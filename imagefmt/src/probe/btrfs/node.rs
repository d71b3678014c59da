//! Nodes: the blocks that trees are made of.
//!
//! Linux, `include/uapi/linux/btrfs_tree.h`, `struct btrfs_header`, `btrfs_key_ptr` and `btrfs_item`. A node of level
//! 0 is a leaf: items with their keys, whose content is at its other end. Any other one has keys and the nodes where
//! these begin.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::key::{Key, RawKey};
use super::superblock::{LEVEL_LIMIT, Superblock};
use crate::probe::fault::Fault;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    _checksum: [u8; 32],
    uuid: [u8; 16],
    place: U64,
    _flags: U64,
    _chunk_tree: [u8; 16],
    generation: U64,
    _owner: U64,
    count: U32,
    level: u8,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawChild {
    key: RawKey,
    place: U64,
    generation: U64,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawItem {
    key: RawKey,
    /// From the end of the header.
    offset: U32,
    len: U32,
}

const HEADER: usize = size_of::<Header>();

const _: () = assert!(HEADER == 101 && size_of::<RawChild>() == 33 && size_of::<RawItem>() == 25);

/// Where a node's child is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child {
    pub(super) place: u64,
    pub(super) generation: u64,
}

/// A node, checked: its keys ascend, and what a leaf's items name is in it.
#[derive(Debug)]
pub(super) struct Node {
    /// What comes after the header.
    body: Vec<u8>,
    pub(super) level: u8,
    pub(super) generation: u64,
    /// How many keys it has.
    pub(super) count: usize,
}

const DAMAGED: Fault = Fault::Damaged("a block of its tree is damaged");

impl Node {
    /// The node that was read from the address `place`.
    pub(super) fn parse(bytes: &[u8], superblock: &Superblock, place: u64) -> Result<Node, Fault> {
        if !superblock.checksum.is_right(bytes) {
            return Err(Fault::Damaged("the checksum of a block of its tree is wrong"));
        }
        let (header, body) = Header::ref_from_prefix(bytes).map_err(|_| DAMAGED)?;
        if header.uuid != superblock.meta_uuid || header.place.get() != place {
            return Err(Fault::Damaged("a block of its tree is another's"));
        }
        let node = Node {
            body: body.to_vec(),
            level: header.level,
            generation: header.generation.get(),
            count: usize::try_from(header.count.get()).map_err(|_| DAMAGED)?,
        };
        match node.is_sound() {
            true => Ok(node),
            false => Err(DAMAGED),
        }
    }

    fn is_sound(&self) -> bool {
        let entry = match self.level {
            0 => size_of::<RawItem>(),
            _ => size_of::<RawChild>(),
        };
        let len = self.count.checked_mul(entry);
        let fits = len.is_some_and(|len| len <= self.body.len());
        if !fits || self.level >= LEVEL_LIMIT || (self.level > 0 && self.count == 0) {
            return false;
        }
        let mut last = None;
        (0..self.count).all(|nth| {
            let key = self.key(nth);
            let ascends = key.is_some() && (last.is_none() || last < key);
            last = key;
            ascends && (self.level > 0 || self.item(nth).is_some())
        })
    }

    /// The `nth` key.
    pub(super) fn key(&self, nth: usize) -> Option<Key> {
        match self.level {
            0 => self.entry::<RawItem>(nth).map(|item| item.key.get()),
            _ => self.entry::<RawChild>(nth).map(|child| child.key.get()),
        }
    }

    /// The node that begins with the `nth` key, where this is no leaf.
    pub(super) fn child(&self, nth: usize) -> Option<Child> {
        let child = self.entry::<RawChild>(nth).filter(|_| self.level > 0)?;
        Some(Child {
            place: child.place.get(),
            generation: child.generation.get(),
        })
    }

    /// The content of the `nth` item, where this is a leaf.
    pub(super) fn item(&self, nth: usize) -> Option<&[u8]> {
        let item = self.entry::<RawItem>(nth).filter(|_| self.level == 0)?;
        let (offset, len) = (item.offset.get() as usize, item.len.get() as usize);
        let entries = self.count.checked_mul(size_of::<RawItem>())?;
        let content = self.body.get(offset..)?.get(..len)?;
        (offset >= entries).then_some(content)
    }

    /// How many keys are not behind `key`.
    pub(super) fn up_to(&self, key: Key) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.key(middle).is_some_and(|own| own <= key) {
                true => low = middle.saturating_add(1),
                false => high = middle,
            }
        }
        low
    }

    fn entry<T: FromBytes + KnownLayout + Immutable + Unaligned>(&self, nth: usize) -> Option<&T> {
        let start = nth.checked_mul(size_of::<T>()).filter(|_| nth < self.count)?;
        let bytes = self.body.get(start..)?;
        T::ref_from_prefix(bytes).ok().map(|(entry, _)| entry)
    }
}
