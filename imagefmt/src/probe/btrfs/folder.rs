//! The entries of a folder.
//!
//! Linux, `include/uapi/linux/btrfs_tree.h`, `struct btrfs_dir_item`. Each is there twice: by the hash of its name,
//! where those whose hashes are the same share an item, and by the order in which they were made.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::key::{self, Key, RawKey};
use super::tree::{Enough, Root, Source};
use crate::probe::crc32c;
use crate::probe::fault::Fault;

/// What an entry leads to: a folder, or a subvolume.
const TYPE_FOLDER: u8 = 2;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawEntry {
    target: RawKey,
    _transaction: U64,
    /// Of what an extended attribute has behind its name.
    content_len: U16,
    name_len: U16,
    kind: u8,
}

const _: () = assert!(size_of::<RawEntry>() == 30);

const DAMAGED: Fault = Fault::Damaged("its folder is damaged");

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// An inode of the same subvolume.
    Inode(u64),
    /// The topmost folder of another one, by its number.
    Subvolume(u64),
}

/// What `name` leads to in the folder `inode` of the tree at `root`.
pub(super) fn look_up(source: &Source, root: Root, inode: u64, name: &[u8]) -> Result<Option<Target>, Fault> {
    // Linux hands the hash on as it is, and begins it with all ones but one.
    let hash = crc32c::update(!1, name);
    let Some(item) = source.find(root, Key::new(inode, key::ENTRY, u64::from(hash)))? else {
        return Ok(None);
    };
    let mut found = None;
    each_of(item.content(), |entry, own| {
        if own == name {
            found = Some(entry.target.get());
        }
    })?;
    let Some(target) = found else { return Ok(None) };
    match target.kind {
        key::INODE => Ok(Some(Target::Inode(target.object))),
        key::ROOT => Ok(Some(Target::Subvolume(target.object))),
        _ => Err(DAMAGED),
    }
}

/// Gives the name of each entry of the folder to `take`, and whether it is a folder, until that says that it is
/// enough.
pub(super) fn each(
    source: &Source,
    root: Root,
    inode: u64,
    mut take: impl FnMut(&[u8], bool) -> Enough,
) -> Result<(), Fault> {
    source.each(root, Key::new(inode, key::PLACE, 0), |own, content| {
        if !own.is_of(inode, key::PLACE) {
            return Ok(Enough::Yes);
        }
        let mut enough = Enough::No;
        each_of(content, |entry, name| {
            if enough == Enough::No {
                enough = take(name, entry.kind == TYPE_FOLDER);
            }
        })?;
        Ok(enough)
    })
}

/// The entries of one item, one behind the other.
fn each_of(content: &[u8], mut take: impl FnMut(&RawEntry, &[u8])) -> Result<(), Fault> {
    let mut rest = content;
    while !rest.is_empty() {
        let (entry, after) = RawEntry::ref_from_prefix(rest).map_err(|_| DAMAGED)?;
        let (name, after) = after
            .split_at_checked(usize::from(entry.name_len.get()))
            .ok_or(DAMAGED)?;
        take(entry, name);
        rest = after.get(usize::from(entry.content_len.get())..).ok_or(DAMAGED)?;
    }
    Ok(())
}
