//! The blocks of a journal: descriptor, revocation, commit; their layouts and checksums.
//!
//! Linux, `Documentation/filesystems/ext4/journal.rst`; all numbers are big-endian.

use crate::probe::crc32c;

const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
/// Revocations, 64 bit, asynchronous commits, checksums, fast commits: all that Linux has.
const INCOMPAT_KNOWN: u32 = 0x3F;

const TAG_ESCAPED: u32 = 0x1;
const TAG_SAME_UUID: u32 = 0x2;
const TAG_LAST: u32 = 0x8;

/// Bytes of the head that each block of the log begins with.
const HEAD: usize = 12;
/// Where a commit block's checksum lies.
const COMMIT_SUM: usize = 16;

/// The head of a block of the log.
pub(super) struct Header {
    pub(super) kind: u32,
    pub(super) sequence: u32,
}

impl Header {
    pub(super) const MAGIC: u32 = 0xC03B_3998;
    pub(super) const DESCRIPTOR: u32 = 1;
    pub(super) const COMMIT: u32 = 2;
    pub(super) const REVOKE: u32 = 5;

    /// The head of `block`; none if it is not a block of a log.
    pub(super) fn parse(block: &[u8]) -> Option<Header> {
        (word(block, 0)? == Header::MAGIC).then_some(Header {
            kind: word(block, 4)?,
            sequence: word(block, 8)?,
        })
    }
}

/// What a descriptor says of one data block that follows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// Block of the file system.
    pub(super) block: u64,
    pub(super) escaped: bool,
    checksum: u32,
}

/// How a journal is laid out, as its features say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    incompat: u32,
    /// Where checksums start from: that of the journal's UUID.
    seed: u32,
}

impl Layout {
    /// None if a feature is not known.
    pub(super) fn new(incompat: u32, seed: u32) -> Option<Layout> {
        (incompat & !INCOMPAT_KNOWN == 0).then_some(Layout { incompat, seed })
    }

    fn has(self, feature: u32) -> bool {
        self.incompat & feature != 0
    }

    pub(super) fn has_fast_commits(self) -> bool {
        self.has(INCOMPAT_FAST_COMMIT)
    }

    pub(super) fn has_data_checksums(self) -> bool {
        self.has(INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3)
    }

    /// Bytes of a tag, without the UUID that may follow it.
    fn tag_len(self) -> usize {
        match (
            self.has(INCOMPAT_CSUM_V3),
            self.has(INCOMPAT_CSUM_V2),
            self.has(INCOMPAT_64BIT),
        ) {
            (true, _, _) => 16,
            (false, true, true) => 14,
            (false, true, false) => 10,
            (false, false, true) => 12,
            (false, false, false) => 8,
        }
    }

    /// The tags of a descriptor block.
    pub(super) fn tags(self, block: &[u8]) -> Vec<Tag> {
        let tail = if self.has_data_checksums() { 4 } else { 0 };
        let end = block.len().saturating_sub(tail);
        let mut tags = Vec::new();
        let mut rest = block.get(HEAD..end).unwrap_or_default();
        while let Some((tag, after)) = rest.split_at_checked(self.tag_len()) {
            let Some((parsed, flags)) = self.tag(tag) else {
                break;
            };
            tags.push(parsed);
            if flags & TAG_LAST != 0 {
                break;
            }
            let uuid = if flags & TAG_SAME_UUID == 0 { 16 } else { 0 };
            rest = after.get(uuid..).unwrap_or_default();
        }
        tags
    }

    fn tag(self, bytes: &[u8]) -> Option<(Tag, u32)> {
        let low = u64::from(word(bytes, 0)?);
        let (flags, checksum, high) = if self.has(INCOMPAT_CSUM_V3) {
            (word(bytes, 4)?, word(bytes, 12)?, word(bytes, 8)?)
        } else {
            let both = word(bytes, 4)?;
            let high = if self.has(INCOMPAT_64BIT) {
                word(bytes, 8)?
            } else {
                0
            };
            (both & 0xFFFF, both >> 16, high)
        };
        let high = if self.has(INCOMPAT_64BIT) {
            u64::from(high)
        } else {
            0
        };
        Some((
            Tag {
                block: high << 32 | low,
                escaped: flags & TAG_ESCAPED != 0,
                checksum,
            },
            flags,
        ))
    }

    /// The blocks that a revocation block names.
    pub(super) fn revoked(self, block: &[u8]) -> Vec<u64> {
        let used = usize::try_from(word(block, HEAD).unwrap_or(0)).unwrap_or(0);
        let entries = block.get(16..used.min(block.len())).unwrap_or_default();
        if self.has(INCOMPAT_64BIT) {
            entries
                .as_chunks::<8>()
                .0
                .iter()
                .map(|bytes| u64::from_be_bytes(*bytes))
                .collect()
        } else {
            entries
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| u64::from(u32::from_be_bytes(*bytes)))
                .collect()
        }
    }

    /// Whether the checksum in the last four bytes of a descriptor or revocation block is right.
    pub(super) fn is_right(self, block: &[u8]) -> bool {
        if !self.has_data_checksums() {
            return true;
        }
        let Some((covered, sum)) = block.split_last_chunk::<4>() else {
            return false;
        };
        let state = crc32c::update(self.seed, covered);
        crc32c::update(state, &[0; 4]) == u32::from_be_bytes(*sum)
    }

    /// Whether the checksum of a commit block is right. Version 1 of the checksums, which no
    /// kernel uses unless it is asked to, is not verified.
    pub(super) fn is_commit_right(self, block: &[u8]) -> bool {
        if !self.has_data_checksums() {
            return true;
        }
        let (Some(before), Some(after)) =
            (block.get(..COMMIT_SUM), block.get(COMMIT_SUM.saturating_add(4)..))
        else {
            return false;
        };
        let state = crc32c::update(crc32c::update(self.seed, before), &[0; 4]);
        Some(crc32c::update(state, after)) == word(block, COMMIT_SUM)
    }

    /// Whether a data block is the one that was described. Version 2 keeps half of the checksum.
    pub(super) fn is_data_right(self, tag: &Tag, sequence: u32, data: &[u8]) -> bool {
        let sum = crc32c::update(crc32c::update(self.seed, &sequence.to_be_bytes()), data);
        if self.has(INCOMPAT_CSUM_V3) {
            sum == tag.checksum
        } else {
            sum & 0xFFFF == tag.checksum
        }
    }
}

/// The big-endian number at `offset`.
fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes
        .get(offset..)?
        .first_chunk()
        .copied()
        .map(u32::from_be_bytes)
}
