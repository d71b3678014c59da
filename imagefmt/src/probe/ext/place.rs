//! Where a file's bytes lie, for the few that are written in place.
//!
//! Linux, `Documentation/filesystems/ext4/directory.rst`: a folder is a file of entries, each with an
//! inode, its own length and a name; the blocks of an index look like one empty entry each.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::inode::{BlockMap, Kind};
use super::superblock::Superblock;
use crate::probe::Window;
use crate::probe::fault::Fault;

/// The inode of the root folder.
const ROOT: u32 = 2;

/// The longest folder that is searched, in bytes.
const FOLDER_LIMIT: u64 = 4 << 20;

/// Head of a folder's entry; the name follows.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EntryHead {
    inode: U32,
    len: U16,
    name_len: u8,
    _kind: u8,
}

/// The pieces of the file at `path`, which has no links: first byte and length of each.
pub(super) fn pieces(
    window: &Window,
    superblock: &Superblock,
    path: &[u8],
) -> Result<Vec<(u64, u64)>, Fault> {
    if superblock.forbids_writes() {
        return Err(Fault::Damaged("its file system is not to be written"));
    }
    let mut inode = ROOT;
    for step in path.split(|byte| *byte == b'/').filter(|step| !step.is_empty()) {
        let folder = BlockMap::of(window, superblock, inode, Kind::Folder)?;
        inode = find(window, superblock, &folder, step)?;
    }
    let file = BlockMap::of(window, superblock, inode, Kind::File)?;
    file.pieces(superblock.block_size())
}

/// The inode of the entry `name`.
fn find(window: &Window, superblock: &Superblock, folder: &BlockMap, name: &[u8]) -> Result<u32, Fault> {
    if folder.size > FOLDER_LIMIT {
        return Err(Fault::Damaged("a folder on the way to it is too long"));
    }
    for (offset, len) in folder.pieces(superblock.block_size())? {
        let bytes = window.read_up_to(offset, usize::try_from(len).unwrap_or(0))?;
        for block in bytes.chunks(superblock.block_size() as usize) {
            if let Some(inode) = in_block(block, name) {
                return Ok(inode);
            }
        }
    }
    Err(Fault::Damaged("it is not found in its folder"))
}

fn in_block(block: &[u8], name: &[u8]) -> Option<u32> {
    let mut rest = block;
    while let Ok((head, after)) = EntryHead::read_from_prefix(rest) {
        let own = after.get(..usize::from(head.name_len));
        if head.inode.get() != 0 && own == Some(name) {
            return Some(head.inode.get());
        }
        let len = usize::from(head.len.get());
        rest = rest.get(len..).filter(|_| len >= size_of::<EntryHead>())?;
    }
    None
}
