//! Where the blocks of one inode lie: of the journal, and of files that are written in place.
//!
//! Linux, `Documentation/filesystems/ext4/{inodes,ifork,group_descr}.rst`.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::superblock::Superblock;
use crate::probe::fault::Fault;
use crate::probe::{ProbeError, Window};

/// The most pieces a journal may lie in. `mke2fs` makes it of a few; a hostile tree of
/// one-block pieces ends here.
const RUN_LIMIT: usize = 1 << 16;

/// The most blocks of the tree itself that are read.
const TREE_LIMIT: usize = 1 << 14;

/// The deepest tree of extents that Linux accepts.
const DEPTH_LIMIT: u16 = 5;

const EXTENTS_MAGIC: u16 = 0xF30A;
const FLAG_EXTENTS: u32 = 0x8_0000;

/// Compressed, encrypted, with a tree of checksums, or within the inode itself: the blocks do not hold
/// what is read.
const FLAGS_ELSEWHERE: u32 = 0x4 | 0x800 | 0x10_0000 | 0x1000_0000;

/// The first 128 bytes of an inode: all that every revision has.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Inode {
    mode: U16,
    _uid: U16,
    size_lo: U32,
    _times: [U32; 4],
    _gid: U16,
    _links: U16,
    _blocks: U32,
    flags: U32,
    _os: U32,
    block: [u8; 60],
    _generation: U32,
    _acl: U32,
    size_high: U32,
}

/// Head of a node of the extent tree.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct NodeHead {
    magic: U16,
    entries: U16,
    _max: U16,
    depth: U16,
    _generation: U32,
}

/// An entry of a leaf.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Extent {
    logical: U32,
    len: U16,
    start_hi: U16,
    start_lo: U32,
}

/// An entry of an inner node.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Index {
    _logical: U32,
    leaf_lo: U32,
    leaf_hi: U16,
    _unused: U16,
}

/// What an inode is of, as its mode says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Folder = 0x4000,
    File = 0x8000,
}

/// Blocks that follow each other in the file and on the disk.
#[derive(Debug, Clone, Copy)]
struct Run {
    logical: u64,
    physical: u64,
    len: u64,
}

/// Where a file's blocks lie.
#[derive(Debug, Default)]
pub(super) struct BlockMap {
    runs: Vec<Run>,
    /// Length of the file in bytes.
    pub(super) size: u64,
}

impl BlockMap {
    /// Reads the map of the journal's `inode`, which must lie in the first block group.
    pub(super) fn read(window: &Window, superblock: &Superblock, inode: u32) -> Result<BlockMap, Fault> {
        if !superblock.is_in_first_group(inode) {
            return Err(Fault::Damaged("its inode is not in the first block group"));
        }
        BlockMap::of(window, superblock, inode, Kind::File)
    }

    /// Reads the map of `inode`, which must be of that `kind`.
    pub(super) fn of(
        window: &Window,
        superblock: &Superblock,
        inode: u32,
        kind: Kind,
    ) -> Result<BlockMap, Fault> {
        let size = u64::from(superblock.block_size());
        let (group, index) = superblock
            .place_of_inode(inode)
            .ok_or(Fault::Damaged("its inode does not exist"))?;
        let table = inode_table(window, superblock, group)?;
        let index = index.saturating_mul(u64::from(superblock.inode_size()));
        let mut bytes = [0; size_of::<Inode>()];
        window.read(table.saturating_mul(size).saturating_add(index), &mut bytes)?;
        let inode: Inode = zerocopy::transmute!(bytes);
        if inode.mode.get() & 0xF000 != kind as u16 {
            return Err(Fault::Damaged("its inode is of another kind"));
        }
        if inode.flags.get() & FLAGS_ELSEWHERE != 0 {
            return Err(Fault::Damaged("its blocks do not hold its bytes as they are"));
        }
        let mut map = BlockMap {
            runs: Vec::new(),
            size: u64::from(inode.size_high.get()) << 32 | u64::from(inode.size_lo.get()),
        };
        if inode.flags.get() & FLAG_EXTENTS != 0 {
            map.extents(window, size, &inode.block)?;
        } else {
            map.indirect(window, size, &inode.block)?;
        }
        Ok(map)
    }

    /// First byte on the disk and length of each piece of the file, without a gap between them.
    pub(super) fn pieces(&self, block_size: u32) -> Result<Vec<(u64, u64)>, Fault> {
        let block_size = u64::from(block_size);
        let (mut next, mut left) = (0, self.size);
        let mut pieces = Vec::new();
        for run in &self.runs {
            if left == 0 {
                break;
            }
            if run.logical != next {
                return Err(Fault::Damaged("it has holes"));
            }
            let len = run.len.saturating_mul(block_size).min(left);
            pieces.push((run.physical.saturating_mul(block_size), len));
            next = next.saturating_add(run.len);
            left = left.saturating_sub(len);
        }
        match left {
            0 => Ok(pieces),
            _ => Err(Fault::Damaged("it has holes")),
        }
    }

    /// The block on the disk that holds block `logical` of the file.
    pub(super) fn physical(&self, logical: u64) -> Option<u64> {
        let after = self.runs.partition_point(|run| run.logical <= logical);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let within = logical
            .checked_sub(run.logical)
            .filter(|within| *within < run.len)?;
        run.physical.checked_add(within)
    }

    /// Appends one run, joined to the one before where both go on.
    fn push(&mut self, next: Run) -> Result<(), Fault> {
        if let Some(last) = self.runs.last_mut() {
            let end = last.logical.saturating_add(last.len);
            if next.logical < end {
                return Err(Fault::Damaged("its block map is out of order"));
            }
            if next.logical == end && next.physical == last.physical.saturating_add(last.len) {
                last.len = last.len.saturating_add(next.len);
                return Ok(());
            }
        }
        if self.runs.len() >= RUN_LIMIT {
            return Err(Fault::Damaged("it lies in too many pieces"));
        }
        self.runs.push(next);
        Ok(())
    }

    /// Walks a tree of extents, leaves from left to right.
    fn extents(&mut self, window: &Window, block_size: u64, root: &[u8]) -> Result<(), Fault> {
        let mut budget = TREE_LIMIT;
        // What is still to be visited, the next one last: (block, how deep it may be). A node is read when its turn
        // comes: a small disk may name one block in each of thousands of entries.
        let mut stack = Vec::new();
        let (mut bytes, mut depth_limit) = (root.to_vec(), DEPTH_LIMIT);
        loop {
            let (head, entries) = NodeHead::read_from_prefix(&bytes)
                .map_err(|_| Fault::Damaged("its extent tree is cut off"))?;
            let depth = head.depth.get();
            if head.magic.get() != EXTENTS_MAGIC || depth > depth_limit {
                return Err(Fault::Damaged("its extent tree is damaged"));
            }
            let entries = entries.chunks_exact(12).take(usize::from(head.entries.get()));
            if depth == 0 {
                entries.filter_map(run).try_for_each(|run| self.push(run))?;
            } else {
                let below = depth.saturating_sub(1);
                stack.extend(entries.rev().filter_map(child).map(|child| (child, below)));
            }
            let Some((child, below)) = stack.pop() else {
                return Ok(());
            };
            budget = budget
                .checked_sub(1)
                .ok_or(Fault::Damaged("its extent tree does not end"))?;
            (bytes, depth_limit) = (block(window, block_size, child)?, below);
        }
    }

    /// Walks the map of ext2 and ext3: twelve blocks, then one, two and three levels of pointers.
    fn indirect(&mut self, window: &Window, block_size: u64, root: &[u8]) -> Result<(), Fault> {
        let blocks = self.size.div_ceil(block_size);
        let mut logical = 0;
        let mut budget = TREE_LIMIT;
        // What is still to be visited, the next one last: (block, levels of pointers below it).
        let mut stack: Vec<(u32, u8)> = pointers(root).zip([0; 12].into_iter().chain([1, 2, 3])).collect();
        stack.reverse();
        let per_block = block_size / 4;
        while let Some((pointer, levels)) = stack.pop() {
            if logical >= blocks {
                break;
            }
            let covers = per_block.checked_pow(u32::from(levels)).unwrap_or(u64::MAX);
            if pointer == 0 {
                logical = logical.saturating_add(covers);
            } else if levels == 0 {
                self.push(Run {
                    logical,
                    physical: u64::from(pointer),
                    len: 1,
                })?;
                logical = logical.saturating_add(1);
            } else {
                budget = budget
                    .checked_sub(1)
                    .ok_or(Fault::Damaged("its block map does not end"))?;
                let below = block(window, block_size, u64::from(pointer))?;
                let children: Vec<u32> = pointers(&below).collect();
                stack.extend(
                    children
                        .into_iter()
                        .rev()
                        .map(|child| (child, levels.saturating_sub(1))),
                );
            }
        }
        Ok(())
    }
}

/// The first block of a group's inode table.
fn inode_table(window: &Window, superblock: &Superblock, group: u64) -> Result<u64, ProbeError> {
    let block = superblock.first_data_block().saturating_add(1);
    let descriptors = block.saturating_mul(u64::from(superblock.block_size()));
    let at = descriptors.saturating_add(group.saturating_mul(superblock.descriptor_size()));
    let half = |offset: u64| {
        let mut bytes = [0; 4];
        window
            .read(at.saturating_add(offset), &mut bytes)
            .map(|()| u64::from(u32::from_le_bytes(bytes)))
    };
    let high = if superblock.has_wide_descriptors() {
        half(0x28)?
    } else {
        0
    };
    Ok(high << 32 | half(0x08)?)
}

fn block(window: &Window, block_size: u64, block: u64) -> Result<Vec<u8>, ProbeError> {
    let mut bytes = vec![0; usize::try_from(block_size).unwrap_or(0)];
    window.read(block.saturating_mul(block_size), &mut bytes)?;
    Ok(bytes)
}

fn run(bytes: &[u8]) -> Option<Run> {
    let extent = Extent::read_from_bytes(bytes).ok()?;
    Some(Run {
        logical: u64::from(extent.logical.get()),
        physical: u64::from(extent.start_hi.get()) << 32 | u64::from(extent.start_lo.get()),
        // More than 32768 marks an extent as allocated but not yet written.
        len: u64::from(extent.len.get()).min(32768),
    })
}

fn child(bytes: &[u8]) -> Option<u64> {
    let index = Index::read_from_bytes(bytes).ok()?;
    Some(u64::from(index.leaf_hi.get()) << 32 | u64::from(index.leaf_lo.get()))
}

fn pointers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes
        .chunks_exact(4)
        .filter_map(|chunk| chunk.first_chunk().copied())
        .map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::fixtures::Ram;

    const BLOCK: usize = 64 << 10;

    /// A node of as many entries as there is room for, all of which lead to block `child`.
    fn node(len: usize, depth: u16, child: u32) -> Vec<u8> {
        let entries = (len - 12) / 12;
        let head = [EXTENTS_MAGIC, entries as u16, entries as u16, depth, 0, 0];
        let mut bytes = head.map(u16::to_le_bytes).concat();
        let entry = [0, child, 0].map(u32::to_le_bytes).concat();
        bytes.extend(entry.repeat(entries));
        bytes.resize(len, 0);
        bytes
    }

    #[test]
    fn hazard_nodes_that_name_one_node_over_and_over_are_read_one_at_a_time() {
        // Four levels of nodes, whose entries all lead to the next one; what they lead to at last is no node. That is
        // found on the way down, before any sibling is read.
        let nodes = (1..5).map(|at| node(BLOCK, 5 - at, u32::from(at) + 1));
        let blocks = [vec![0; BLOCK]].into_iter().chain(nodes).chain([vec![0; BLOCK]]);
        let window = Window::whole(Ram::disk(blocks.flatten().collect()));
        let walked = BlockMap::default().extents(&window, BLOCK as u64, &node(60, 5, 1));
        let Err(Fault::Damaged(why)) = walked else {
            panic!("the last node is none")
        };
        assert_eq!(why, "its extent tree is damaged");
    }
}
