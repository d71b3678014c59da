//! Trees: an item is found by its key, from the root down.
//!
//! Each look-up reads no more nodes than a tree has levels, and every node is held against what its parent says of
//! it: its level, its generation, its first key, and the key that comes after its last one. A node so has one place in
//! a tree, and a walk through all of it ends.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::chunk::Chunks;
use super::key::Key;
use super::node::Node;
use super::superblock::Superblock;
use crate::probe::fault::Fault;
use crate::probe::{ProbeError, Window};

/// How many nodes are kept, of at most 64 KiB each.
const KEPT: usize = 32;

/// The most bytes that are unpacked, through one file system. It stops a file of which every sector is in another
/// extent that unpacks to as much as one can; the longest kernel and initramfs fit with room to spare.
const UNPACKED_LIMIT: u64 = 2 << 30;

/// Where a tree begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root {
    /// The address of its topmost node.
    pub(super) place: u64,
    /// Its level.
    pub(super) level: u8,
    /// When it was written.
    pub(super) generation: u64,
}

/// Whether no more items are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enough {
    Yes,
    No,
}

/// An item, in its leaf.
pub(super) struct Item {
    leaf: Rc<Node>,
    nth: usize,
    pub(super) key: Key,
}

impl Item {
    pub(super) fn content(&self) -> &[u8] {
        self.leaf.item(self.nth).unwrap_or_default()
    }
}

/// What trees are read from.
pub(super) struct Source {
    window: Window,
    pub(super) superblock: Superblock,
    pub(super) chunks: Chunks,
    /// The nodes that were used last, the newest at the end.
    kept: RefCell<VecDeque<(u64, Rc<Node>)>>,
    unpacked: Cell<u64>,
}

/// The leaf where a key belongs.
struct Leaf {
    node: Rc<Node>,
    /// What the next leaf begins with, if there is one.
    end: Option<Key>,
}

impl Source {
    pub(super) fn new(window: Window, superblock: Superblock, chunks: Chunks) -> Source {
        Source {
            window,
            superblock,
            chunks,
            kept: RefCell::default(),
            unpacked: Cell::new(0),
        }
    }

    /// Fills `to` with the bytes at an address: of copies, the first one that can be read.
    pub(super) fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Fault> {
        self.read_if(address, to, |_| Ok(()))
    }

    /// The same of those which are `sound`; what the first copy lacks is the error where none is.
    pub(super) fn read_if<T>(
        &self,
        address: u64,
        to: &mut [u8],
        mut sound: impl FnMut(&[u8]) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let places = self.chunks.places(address, to.len());
        let places = places.ok_or(Fault::Damaged("a part of it lies in no chunk"))?;
        let mut first = None;
        for place in places {
            let read = self.window.read(place, to).map_err(Fault::Disk);
            match read.and_then(|()| sound(to)) {
                Ok(found) => return Ok(found),
                Err(error @ Fault::Disk(ProbeError::TooMuch { .. })) => return Err(error),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or(Fault::Damaged("a part of it lies in no chunk")))
    }

    /// Counts bytes that are about to be unpacked.
    pub(super) fn count_unpacked(&self, len: usize) -> Result<(), Fault> {
        let all = self.unpacked.get().saturating_add(len as u64);
        self.unpacked.set(all);
        match all > UNPACKED_LIMIT {
            true => Err(Fault::Disk(ProbeError::TooMuch {
                limit: UNPACKED_LIMIT,
            })),
            false => Ok(()),
        }
    }

    /// The item of this key.
    pub(super) fn find(&self, root: Root, key: Key) -> Result<Option<Item>, Fault> {
        Ok(self.at_or_before(root, key)?.filter(|item| item.key == key))
    }

    /// The last item whose key is this one, or comes before it.
    pub(super) fn at_or_before(&self, root: Root, key: Key) -> Result<Option<Item>, Fault> {
        let leaf = self.leaf(root, key)?.node;
        let nth = leaf.up_to(key).checked_sub(1);
        Ok(nth.and_then(|nth| {
            let key = leaf.key(nth)?;
            Some(Item { leaf, nth, key })
        }))
    }

    /// Gives each item from the key `from` on to `take`, until that says that it is enough.
    pub(super) fn each(
        &self,
        root: Root,
        from: Key,
        mut take: impl FnMut(Key, &[u8]) -> Result<Enough, Fault>,
    ) -> Result<(), Fault> {
        let mut from = from;
        loop {
            let Leaf { node, end } = self.leaf(root, from)?;
            let before = node.up_to(from);
            let is_there = before.checked_sub(1).and_then(|last| node.key(last)) == Some(from);
            for nth in before.saturating_sub(usize::from(is_there))..node.count {
                let (Some(key), Some(content)) = (node.key(nth), node.item(nth)) else {
                    return Ok(());
                };
                if take(key, content)? == Enough::Yes {
                    return Ok(());
                }
            }
            match end {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    /// The leaf in which `key` is, if it is anywhere.
    fn leaf(&self, root: Root, key: Key) -> Result<Leaf, Fault> {
        let mut node = self.node(root)?;
        let mut end: Option<Key> = None;
        while node.level > 0 {
            let nth = node.up_to(key).saturating_sub(1);
            let (first, child) = node.key(nth).zip(node.child(nth)).ok_or(MISPLACED)?;
            end = node.key(nth.saturating_add(1)).or(end);
            let below = self.node(Root {
                place: child.place,
                level: node.level.saturating_sub(1),
                generation: child.generation,
            })?;
            let last = below.count.checked_sub(1).and_then(|last| below.key(last));
            let is_below_end = end.is_none_or(|end| last.is_some_and(|last| last < end));
            if below.key(0) != Some(first) || !is_below_end {
                return Err(MISPLACED);
            }
            node = below;
        }
        Ok(Leaf { node, end })
    }

    /// The node that is named so.
    fn node(&self, root: Root) -> Result<Rc<Node>, Fault> {
        let is_meant = |node: &Node| match (node.level, node.generation) == (root.level, root.generation) {
            true => Ok(()),
            false => Err(MISPLACED),
        };
        let node = match self.kept(root.place) {
            Some(node) => is_meant(&node).map(|()| node)?,
            None => {
                let mut bytes = vec![0; self.superblock.node_size];
                Rc::new(self.read_if(root.place, &mut bytes, |bytes| {
                    let node = Node::parse(bytes, &self.superblock, root.place)?;
                    is_meant(&node).map(|()| node)
                })?)
            }
        };
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((root.place, Rc::clone(&node)));
        Ok(node)
    }

    /// Takes a node out of those that are kept.
    fn kept(&self, place: u64) -> Option<Rc<Node>> {
        let mut kept = self.kept.borrow_mut();
        let nth = kept.iter().position(|(own, _)| *own == place)?;
        kept.remove(nth).map(|(_, node)| node)
    }
}

const MISPLACED: Fault = Fault::Damaged("a block of its tree is not the one that belongs there");
