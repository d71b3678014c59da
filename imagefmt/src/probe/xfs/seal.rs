//! What version 5 adds to each piece of metadata: a checksum, where it lies, whose it is.
//!
//! "XFS Algorithms & Data Structures", chapter "Self-Describing Metadata".

use super::Fault;
use super::superblock::Superblock;
use crate::probe::crc32c;

/// Where the fields of a kind of metadata lie in its block.
pub(super) struct Seal {
    checksum: usize,
    /// Its place on the disk, in units of 512 bytes.
    place: usize,
    uuid: usize,
    /// The inode that it belongs to.
    owner: usize,
}

/// A block of a folder.
pub(super) const FOLDER: Seal = Seal {
    checksum: 4,
    place: 8,
    uuid: 24,
    owner: 40,
};

/// A block of a tree of extents.
pub(super) const TREE: Seal = Seal {
    checksum: 64,
    place: 24,
    uuid: 40,
    owner: 56,
};

/// A symbolic link's target.
pub(super) const LINK: Seal = Seal {
    checksum: 12,
    place: 40,
    uuid: 16,
    owner: 32,
};

impl Seal {
    /// Whether `block`, which was read from byte `offset` of the disk, is what its owner takes it for.
    pub(super) fn check(
        &self,
        block: &[u8],
        superblock: &Superblock,
        offset: u64,
        owner: u64,
    ) -> Result<(), Fault> {
        let place = (offset >> 9).to_be_bytes();
        let is_own = field(block, self.uuid) == Some(superblock.meta_uuid)
            && field(block, self.place) == Some(place)
            && field(block, self.owner) == Some(owner.to_be_bytes());
        if !is_own {
            return Err(Fault::Damaged("a block of it is another's"));
        }
        match is_whole(block, self.checksum) {
            true => Ok(()),
            false => Err(Fault::Damaged("the checksum of a block of it is wrong")),
        }
    }
}

/// Whether the checksum at `at`, which is little-endian, is that of all of `bytes` with zeroes in its place.
pub(super) fn is_whole(bytes: &[u8], at: usize) -> bool {
    // Without this a fuzzer would see checksums that are wrong and nothing else.
    if cfg!(fuzzing) {
        return true;
    }
    let (Some(before), Some(said)) = (bytes.get(..at), field::<4>(bytes, at)) else {
        return false;
    };
    let after = bytes.get(at.saturating_add(4)..).unwrap_or_default();
    let state = crc32c::update(crc32c::update(!0, before), &[0; 4]);
    !crc32c::update(state, after) == u32::from_le_bytes(said)
}

/// The bytes of a field.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A big-endian number of 16 bits.
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    field(bytes, at).map(u16::from_be_bytes)
}

/// A big-endian number of 32 bits.
pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    field(bytes, at).map(u32::from_be_bytes)
}

/// A big-endian number of 64 bits.
pub(super) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    field(bytes, at).map(u64::from_be_bytes)
}
