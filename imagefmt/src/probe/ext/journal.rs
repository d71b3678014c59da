//! What the journal holds that the file system does not have yet.
//!
//! After a forced stop the newest committed changes may be in the journal only. The kernel writes
//! them home at the next mount; here nothing is written, and the changes are laid over what is
//! read ([`super::view`]). All formats of the journal are known: those of ext3, with and without
//! 64-bit block numbers, with checksums of versions 2 and 3. Fast commits are left out: they need
//! the kernel's code, and hold only what came after the last full commit.
//!
//! Linux, `Documentation/filesystems/ext4/journal.rst`; the steps are those of
//! `fs/jbd2/recovery.c`: a transaction counts once its commit block is there and right; a block
//! that a later transaction revokes is not taken from an earlier one.

use std::collections::HashMap;

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::inode::BlockMap;
use super::journal_block::{Header, Layout, Tag};
use super::superblock::Superblock;
use crate::probe::crc32c;
use crate::probe::fault::Fault;
use crate::probe::{ProbeError, Window};

/// The longest journal that is read, in blocks: 4 GiB in blocks of 4 KiB, four times the largest
/// that `mke2fs` makes by itself. It bounds what is kept of it.
const BLOCK_LIMIT: u32 = 1 << 20;

/// The most revoked blocks that are kept.
const REVOKE_LIMIT: usize = 1 << 21;

/// The journal's superblock, in its first block.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct JournalSuperblock {
    magic: U32,
    block_type: U32,
    _own_sequence: U32,
    block_size: U32,
    max_len: U32,
    first: U32,
    sequence: U32,
    start: U32,
    _errno: U32,
    _compat: U32,
    incompat: U32,
    _ro_compat: U32,
    uuid: [u8; 16],
    _users: [U32; 4],
    _checksum_type: [u8; 4],
    fast_commit_blocks: U32,
}

/// A newer version of a block, where it lies in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newer {
    /// Byte of the file system at which it begins.
    pub(super) offset: u64,
    /// Whether its first four bytes were replaced, because they looked like the journal's own.
    pub(super) escaped: bool,
}

/// The changes of all committed transactions: block of the file system to its newer version.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) blocks: HashMap<u64, Newer>,
    pub(super) transactions: u32,
}

/// Why a journal could not be applied.
pub(super) enum Unusable {
    /// The disk failed.
    Disk(ProbeError),
    /// It makes no sense, or is not known.
    Because(String),
}

impl From<ProbeError> for Unusable {
    fn from(error: ProbeError) -> Unusable {
        Unusable::Disk(error)
    }
}

impl From<Fault> for Unusable {
    fn from(error: Fault) -> Unusable {
        match error {
            Fault::Disk(error) => Unusable::Disk(error),
            Fault::Damaged(reason) => Unusable::Because(reason.into()),
        }
    }
}

fn because<T>(reason: impl Into<String>) -> Result<T, Unusable> {
    Err(Unusable::Because(reason.into()))
}

impl Replay {
    /// Reads the journal of a file system that needs recovery.
    pub(super) fn read(window: &Window, superblock: &Superblock) -> Result<Replay, Unusable> {
        let map = BlockMap::read(window, superblock, superblock.journal_inode())?;
        let mut journal = Log::open(window, superblock.block_size(), map)?;
        journal.scan()?;
        Ok(journal.finish())
    }
}

/// The ring of blocks, and what was collected from it so far.
struct Log<'a> {
    window: &'a Window,
    map: BlockMap,
    block_size: u32,
    layout: Layout,
    /// The ring: blocks `first..last` of the journal's file.
    first: u32,
    last: u32,
    start: u32,
    sequence: u32,
    /// Of the transaction whose commit block is still to come.
    open: Vec<(u64, Newer)>,
    open_revoked: Vec<u64>,
    /// Of committed transactions: block, its newer version, in which transaction.
    written: Vec<(u64, Newer, u32)>,
    /// Block to the last transaction that revoked it.
    revoked: HashMap<u64, u32>,
    transactions: u32,
}

impl<'a> Log<'a> {
    fn open(window: &'a Window, block_size: u32, map: BlockMap) -> Result<Log<'a>, Unusable> {
        let start = map
            .physical(0)
            .ok_or(Unusable::Because("it has no blocks".into()))?;
        let mut bytes = [0; size_of::<JournalSuperblock>()];
        window.read(start.saturating_mul(u64::from(block_size)), &mut bytes)?;
        let own: JournalSuperblock = zerocopy::transmute!(bytes);
        if own.magic.get() != Header::MAGIC || !matches!(own.block_type.get(), 3 | 4) {
            return because("its superblock is damaged");
        }
        if own.block_size.get() != block_size {
            return because("its blocks have another size than the file system's");
        }
        // Version 1 of the superblock, type 3, has no features.
        let incompat = if own.block_type.get() == 4 {
            own.incompat.get()
        } else {
            0
        };
        let layout = Layout::new(incompat, crc32c::update(!0, &own.uuid)).ok_or_else(|| {
            Unusable::Because(format!("it has features that are not known ({incompat:#x})"))
        })?;
        let fast = match own.fast_commit_blocks.get() {
            _ if !layout.has_fast_commits() => 0,
            0 => 256,
            blocks => blocks,
        };
        let last = own.max_len.get().saturating_sub(fast);
        let first = own.first.get();
        let blocks = map.size.checked_div(u64::from(block_size)).unwrap_or(0);
        if last > BLOCK_LIMIT || u64::from(last) > blocks || first == 0 || first >= last {
            return because(format!("its blocks {first} to {last} make no sense"));
        }
        if own.start.get() != 0 && !(first..last).contains(&own.start.get()) {
            return because("it begins outside of itself");
        }
        Ok(Log {
            window,
            map,
            block_size,
            layout,
            first,
            last,
            start: own.start.get(),
            sequence: own.sequence.get(),
            open: Vec::new(),
            open_revoked: Vec::new(),
            written: Vec::new(),
            revoked: HashMap::new(),
            transactions: 0,
        })
    }

    /// The journal block after `block`, round the ring.
    fn next(&self, block: u32) -> u32 {
        match block.saturating_add(1) {
            next if next >= self.last => self.first,
            next => next,
        }
    }

    /// Where journal block `block` begins on the file system, in bytes.
    fn offset(&self, block: u32) -> Result<u64, Unusable> {
        self.map
            .physical(u64::from(block))
            .and_then(|physical| physical.checked_mul(u64::from(self.block_size)))
            .ok_or_else(|| Unusable::Because(format!("its block {block} is nowhere")))
    }

    /// Goes through all committed transactions. It stops at the first block that is not of the
    /// log, which is its end.
    fn scan(&mut self) -> Result<(), Unusable> {
        // A start of 0 says that the log is empty.
        if self.start == 0 {
            return Ok(());
        }
        let mut at = self.start;
        let mut bytes = vec![0; usize::try_from(self.block_size).unwrap_or(0)];
        // Each turn takes one block or more: once round the ring is the most there can be.
        let mut left = self.last.saturating_sub(self.first);
        while left > 0 {
            self.window.read(self.offset(at)?, &mut bytes)?;
            let Some(header) = Header::parse(&bytes).filter(|header| header.sequence == self.sequence) else {
                break;
            };
            left = left.saturating_sub(1);
            at = self.next(at);
            match header.kind {
                Header::DESCRIPTOR if self.layout.is_right(&bytes) => {
                    for tag in self.layout.tags(&bytes) {
                        if left == 0 {
                            return Ok(());
                        }
                        self.take(&tag, at)?;
                        left = left.saturating_sub(1);
                        at = self.next(at);
                    }
                }
                Header::REVOKE if self.layout.is_right(&bytes) => {
                    self.open_revoked.extend(self.layout.revoked(&bytes));
                    if self.open_revoked.len().saturating_add(self.revoked.len()) > REVOKE_LIMIT {
                        return because("it revokes more blocks than any sound journal");
                    }
                }
                Header::COMMIT if self.layout.is_commit_right(&bytes) => self.commit(),
                _ => break,
            }
        }
        Ok(())
    }

    /// Notes the data block at `at`, which `tag` describes.
    fn take(&mut self, tag: &Tag, at: u32) -> Result<(), Unusable> {
        let offset = self.offset(at)?;
        if self.layout.has_data_checksums() {
            let mut data = vec![0; usize::try_from(self.block_size).unwrap_or(0)];
            self.window.read(offset, &mut data)?;
            if !self.layout.is_data_right(tag, self.sequence, &data) {
                tracing::warn!(
                    "the journal's copy of block {} is damaged and left out",
                    tag.block
                );
                return Ok(());
            }
        }
        self.open.push((
            tag.block,
            Newer {
                offset,
                escaped: tag.escaped,
            },
        ));
        Ok(())
    }

    /// The open transaction is complete.
    fn commit(&mut self) {
        let sequence = self.sequence;
        self.written
            .extend(self.open.drain(..).map(|(block, newer)| (block, newer, sequence)));
        self.revoked
            .extend(self.open_revoked.drain(..).map(|block| (block, sequence)));
        self.sequence = self.sequence.wrapping_add(1);
        self.transactions = self.transactions.saturating_add(1);
    }

    /// Lays the transactions over each other.
    fn finish(self) -> Replay {
        let mut replay = Replay {
            transactions: self.transactions,
            ..Replay::default()
        };
        for (block, newer, sequence) in self.written {
            // Revoked in the same or a later transaction; numbers may wrap round.
            let stale = self
                .revoked
                .get(&block)
                .is_some_and(|revoked| (revoked.wrapping_sub(sequence) as i32) >= 0);
            if !stale {
                replay.blocks.insert(block, newer);
            }
        }
        replay
    }
}
