//! Where the blocks of a file lie: extents in its inode, or in a tree whose root is there.
//!
//! "XFS Algorithms & Data Structures", chapter "Data Extents". One place of the file is looked up at a time:
//! each look-up reads no more blocks than the tree has levels, and gets on by one block at least.

use super::Source;
use super::inode::{Format, Inode};
use super::seal::{TREE, be16, be64};
use super::superblock::Superblock;
use crate::probe::fault::Fault;

/// Bytes of an extent on the disk.
const EXTENT: usize = 16;

/// The most levels of a tree: as many as Linux allows for.
const LEVEL_LIMIT: u16 = 9;

/// A file has fewer blocks: 54 bits count them.
const END: u64 = 1 << 54;

/// Blocks of a file that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// How many.
    pub(super) count: u64,
    /// The byte on the disk where the first one begins; none if they are zeroes: a hole, or blocks that were
    /// set aside and not written.
    pub(super) place: Option<u64>,
}

/// An extent: so many blocks of the file, from the first one on, at a block of the file system.
struct Extent {
    first: u64,
    count: u64,
    block: u64,
    is_unwritten: bool,
}

impl Extent {
    /// 1 bit that says unwritten, 54 of the first block, 52 of where it is, 21 of how many.
    fn parse(bytes: &[u8]) -> Option<Extent> {
        let (high, low) = (be64(bytes, 0)?, be64(bytes, 8)?);
        Some(Extent {
            first: (high & (u64::MAX >> 1)) >> 9,
            count: low & 0x1F_FFFF,
            block: (high & 0x1FF) << 43 | low >> 21,
            is_unwritten: high >> 63 != 0,
        })
    }
}

/// The blocks of `inode` from number `block` on that lie together.
pub(super) fn run(source: Source<'_>, inode: &Inode, block: u64) -> Result<Run, Fault> {
    if block >= END {
        return Err(Fault::Damaged("it is longer than a file can be"));
    }
    match inode.format {
        Format::Local => Err(Fault::Damaged("its inode is damaged")),
        Format::Extents(count) => {
            let len = usize::try_from(count)
                .unwrap_or(usize::MAX)
                .saturating_mul(EXTENT);
            let extents = inode.fork.get(..len).unwrap_or_default();
            among(extents, source.superblock, block, END)
        }
        Format::Tree => in_tree(source, inode, block),
    }
}

/// Looks among extents that end before block `end` of the file.
fn among(extents: &[u8], superblock: &Superblock, block: u64, end: u64) -> Result<Run, Fault> {
    let hole = |end: u64| Run {
        count: end.saturating_sub(block),
        place: None,
    };
    for bytes in extents.chunks_exact(EXTENT) {
        let extent = Extent::parse(bytes).ok_or(Fault::Damaged("an extent of it is cut off"))?;
        if extent.first > block {
            return Ok(hole(extent.first.min(end)));
        }
        let behind = extent.first.saturating_add(extent.count).min(end);
        if behind <= block {
            continue;
        }
        let offset = superblock.offset(extent.block, extent.count);
        let skipped = block
            .saturating_sub(extent.first)
            .checked_mul(superblock.block_size);
        let place = offset
            .and_then(|offset| offset.checked_add(skipped?))
            .ok_or(Fault::Damaged("an extent of it lies beyond the end"))?;
        return Ok(Run {
            count: behind.saturating_sub(block),
            place: (!extent.is_unwritten).then_some(place),
        });
    }
    Ok(hole(end))
}

/// Looks in a tree, from its root down.
fn in_tree(source: Source<'_>, inode: &Inode, block: u64) -> Result<Run, Fault> {
    let damaged = || Fault::Damaged("its tree of extents is damaged");
    let superblock = source.superblock;
    let mut level = be16(&inode.fork, 0).ok_or_else(damaged)?;
    if level == 0 || level > LEVEL_LIMIT {
        return Err(damaged());
    }
    let root = Node::parse(&inode.fork, 4).ok_or_else(damaged)?;
    let (mut child, mut end) = match root.child(block, END).ok_or_else(damaged)? {
        Child::Block(child, end) => (child, end),
        Child::Hole(count) => return Ok(Run { count, place: None }),
    };
    loop {
        level = level.saturating_sub(1);
        let offset = superblock.offset(child, 1).ok_or_else(damaged)?;
        let mut bytes = vec![0; usize::try_from(superblock.block_size).map_err(|_| damaged())?];
        source.window.read(offset, &mut bytes)?;
        let (magic, head) = match superblock.is_v5 {
            true => (b"BMA3", 72),
            false => (b"BMAP", 24),
        };
        if !bytes.starts_with(magic) || be16(&bytes, 4) != Some(level) {
            return Err(damaged());
        }
        if superblock.is_v5 {
            TREE.check(&bytes, superblock, offset, inode.number)?;
        }
        // Level and count of entries come after the magic; siblings are not needed.
        let count = usize::from(be16(&bytes, 6).ok_or_else(damaged)?);
        let entries = bytes.get(head..).ok_or_else(damaged)?;
        if level == 0 {
            let extents = entries.get(..count.saturating_mul(EXTENT)).ok_or_else(damaged)?;
            return among(extents, superblock, block, end);
        }
        match Node::new(entries, count).and_then(|node| node.child(block, end)) {
            Some(Child::Block(next, bound)) => (child, end) = (next, bound),
            Some(Child::Hole(count)) => return Ok(Run { count, place: None }),
            None => return Err(damaged()),
        }
    }
}

/// The entries of a node: the first block of the file in each child, and the children.
struct Node<'a> {
    keys: &'a [u8],
    children: &'a [u8],
}

/// Where a look-up goes on.
enum Child {
    /// In this block, and nothing from that block of the file on is in it.
    Block(u64, u64),
    /// Nowhere: so many blocks are a hole.
    Hole(u64),
}

impl<'a> Node<'a> {
    /// The node whose level and count of entries come before byte `head`.
    fn parse(bytes: &'a [u8], head: usize) -> Option<Node<'a>> {
        Node::new(bytes.get(head..)?, usize::from(be16(bytes, 2)?))
    }

    /// `count` entries, in as much room as there is: the children come after room for all keys.
    fn new(entries: &'a [u8], count: usize) -> Option<Node<'a>> {
        let room = entries.len().checked_div(16)?.checked_mul(8)?;
        let len = count.checked_mul(8).filter(|len| (1..=room).contains(len))?;
        Some(Node {
            keys: entries.get(..len)?,
            children: entries.get(room..)?.get(..len)?,
        })
    }

    /// The child with `block` in it; nothing from `end` on is in this node.
    fn child(&self, block: u64, end: u64) -> Option<Child> {
        let mut found = None;
        let mut end = end;
        let children = self.children.chunks_exact(8);
        for (key, child) in self.keys.chunks_exact(8).zip(children) {
            let first = be64(key, 0)?;
            if first > block {
                end = end.min(first);
                break;
            }
            found = be64(child, 0);
        }
        Some(match found {
            Some(child) => Child::Block(child, end),
            None => Child::Hole(end.saturating_sub(block)),
        })
    }
}
