//! The entries of a folder.
//!
//! "XFS Algorithms & Data Structures", chapter "Directories". A small folder is in its inode. A larger one has
//! blocks of entries, one or many; what finds a name by its hash lies behind them, from 32 GiB on, and is not
//! needed here: as GRUB does, all entries are looked through.

use super::extents::run;
use super::inode::{Format, Inode};
use super::seal::{FOLDER, be16, be32, be64};
use super::{Source, read_at};
use crate::probe::fault::Fault;

/// Where the entries end at the latest, in bytes of the folder.
const END: u64 = 32 << 30;

/// The most bytes of a folder that are looked through: half a million of files and more.
const LIMIT: u64 = 64 << 20;

/// Marks room without an entry.
const FREE: u16 = 0xFFFF;

/// What an entry leads to, where it tells: a folder.
const TYPE_FOLDER: u8 = 2;

/// An entry.
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u64,
    /// Whether it leads to a folder, where it tells.
    pub(super) is_folder: Option<bool>,
}

/// Gives each entry of `folder` but `.` and `..` to `take`, until that says that it is enough.
pub(super) fn each(
    source: Source<'_>,
    folder: &Inode,
    mut take: impl FnMut(Entry<'_>) -> Enough,
) -> Result<(), Fault> {
    if folder.format == Format::Local {
        let len = usize::try_from(folder.len).unwrap_or(usize::MAX);
        let bytes = folder.fork.get(..len).unwrap_or_default();
        return short(bytes, source.superblock.has_file_types, &mut take)
            .map(drop)
            .ok_or(DAMAGED);
    }
    let superblock = source.superblock;
    let mut block = vec![0; usize::try_from(superblock.folder_block).map_err(|_| DAMAGED)?];
    let (mut at, mut looked) = (0_u64, 0_u64);
    while at < folder.len.min(END) {
        let found = run(source, folder, at >> superblock.block_log)?;
        let Some(place) = found.place else {
            let behind = at.saturating_add(found.count.saturating_mul(superblock.block_size));
            let aligned = behind.saturating_sub(behind.checked_rem(superblock.folder_block).unwrap_or(0));
            at = aligned.max(at.saturating_add(superblock.folder_block));
            continue;
        };
        looked = looked.saturating_add(superblock.folder_block);
        if looked > LIMIT {
            return Err(Fault::Damaged("its folder is too long"));
        }
        read_at(source, folder, at, &mut block)?;
        let start = match block.first_chunk() {
            Some(b"XD2B" | b"XD2D") if !superblock.is_v5 => 16,
            Some(b"XDB3" | b"XDD3") if superblock.is_v5 => {
                FOLDER.check(&block, superblock, place, folder.number)?;
                64
            }
            _ => return Err(DAMAGED),
        };
        let end = end_of_entries(&block).ok_or(DAMAGED)?;
        let entries = block.get(start..end).ok_or(DAMAGED)?;
        if long(entries, superblock.has_file_types, &mut take).ok_or(DAMAGED)? == Enough::Yes {
            return Ok(());
        }
        at = at.saturating_add(superblock.folder_block);
    }
    Ok(())
}

const DAMAGED: Fault = Fault::Damaged("its folder is damaged");

/// Whether no more entries are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enough {
    Yes,
    No,
}

/// Where entries end: the only block of a folder has hashes behind them, and how many at its end.
fn end_of_entries(block: &[u8]) -> Option<usize> {
    if !block.starts_with(b"XD2B") && !block.starts_with(b"XDB3") {
        return Some(block.len());
    }
    let tail = block.len().checked_sub(8)?;
    let count = usize::try_from(be32(block, tail)?).ok()?;
    tail.checked_sub(count.checked_mul(8)?)
}

/// Entries in an inode: how many, whether their inodes' numbers have 8 bytes, the parent, then each.
fn short(bytes: &[u8], has_types: bool, take: &mut impl FnMut(Entry<'_>) -> Enough) -> Option<Enough> {
    let (count, wide) = (*bytes.first()?, *bytes.get(1)?);
    let number = if wide != 0 { 8 } else { 4 };
    let mut rest = bytes.get(2_usize.saturating_add(number)..)?;
    for _ in 0..count {
        // Length of the name, its place in a larger folder, the name.
        let name_len = usize::from(*rest.first()?);
        let (name, after) = rest.get(3..)?.split_at_checked(name_len)?;
        let (kind, after) = match has_types {
            true => after.split_first().map(|(kind, after)| (Some(*kind), after))?,
            false => (None, after),
        };
        let inode = match wide {
            0 => u64::from(be32(after, 0)?),
            _ => be64(after, 0)?,
        };
        let entry = Entry {
            name,
            inode,
            is_folder: kind.and_then(is_folder),
        };
        if take(entry) == Enough::Yes {
            return Some(Enough::Yes);
        }
        rest = after.get(number..)?;
    }
    Some(Enough::No)
}

/// Entries in a block: each is a multiple of 8 bytes long, and so is room without one.
fn long(bytes: &[u8], has_types: bool, take: &mut impl FnMut(Entry<'_>) -> Enough) -> Option<Enough> {
    let mut rest = bytes;
    while !rest.is_empty() {
        if be16(rest, 0)? == FREE {
            let len = usize::from(be16(rest, 2)?);
            rest = rest.get(len..).filter(|_| len >= 8 && len % 8 == 0)?;
            continue;
        }
        let inode = be64(rest, 0)?;
        let name_len = usize::from(*rest.get(8)?);
        let (name, after) = rest.get(9..)?.split_at_checked(name_len)?;
        let kind = match has_types {
            true => is_folder(*after.first()?),
            false => None,
        };
        let entry = Entry {
            name,
            inode,
            is_folder: kind,
        };
        if name_len == 0 || (name != b"." && name != b".." && take(entry) == Enough::Yes) {
            return (name_len != 0).then_some(Enough::Yes);
        }
        // Number, length, name, type, and at the end where the entry begins.
        let len = 8_usize
            .saturating_add(1)
            .saturating_add(name_len)
            .saturating_add(usize::from(has_types))
            .saturating_add(2);
        rest = rest.get(len.checked_next_multiple_of(8)?..)?;
    }
    Some(Enough::No)
}

fn is_folder(kind: u8) -> Option<bool> {
    (kind != 0).then_some(kind == TYPE_FOLDER)
}
