//! Where a symbolic link leads.
//!
//! "XFS Algorithms & Data Structures", chapter "Symbolic Links". A target that does not fit into the inode is in
//! blocks of its own; in version 5 each extent of them has a head.

use super::extents::run;
use super::inode::{Format, Inode};
use super::seal::{LINK, be32};
use super::{Source, read_at};
use crate::probe::fault::Fault;

/// Bytes of the head.
const HEAD: usize = 56;

/// The target of `link`, whose length was checked.
pub(super) fn target(source: Source<'_>, link: &Inode) -> Result<Vec<u8>, Fault> {
    let damaged = || Fault::Damaged("a symbolic link to it is damaged");
    let len = usize::try_from(link.len).map_err(|_| damaged())?;
    if link.format == Format::Local {
        return Ok(link.fork.get(..len).ok_or_else(damaged)?.to_vec());
    }
    let superblock = source.superblock;
    let mut target = vec![0; len];
    if !superblock.is_v5 {
        read_at(source, link, 0, &mut target)?;
        return Ok(target);
    }
    target.clear();
    let (room, block_size) = (len as u64, superblock.block_size);
    // As many blocks as hold it with a head in each; each turn takes one at least.
    let blocks = room.div_ceil(block_size.saturating_sub(HEAD as u64).max(1));
    let mut block = 0;
    while target.len() < len && block < blocks {
        let found = run(source, link, block)?;
        let place = found.place.ok_or_else(damaged)?;
        let count = found.count.min(blocks.saturating_sub(block));
        let bytes = count
            .checked_mul(block_size)
            .and_then(|bytes| usize::try_from(bytes).ok());
        let mut piece = vec![0; bytes.ok_or_else(damaged)?];
        source.window.read(place, &mut piece)?;
        if !piece.starts_with(b"XSLM") || be32(&piece, 4) != u32::try_from(target.len()).ok() {
            return Err(damaged());
        }
        LINK.check(&piece, superblock, place, link.number)?;
        let left = len.saturating_sub(target.len());
        let content = piece.get(HEAD..).unwrap_or_default();
        target.extend(content.iter().take(left));
        block = block.saturating_add(count);
    }
    match target.len() == len {
        true => Ok(target),
        false => Err(damaged()),
    }
}
