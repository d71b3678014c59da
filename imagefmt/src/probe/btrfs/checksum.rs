//! Checksums of metadata: which kind a file system has, and whether a block's own is right.
//!
//! btrfs-progs, `Documentation/ch-checksumming.rst`. A block begins with 32 bytes for its checksum,
//! which is that of all that follows them.

use sha2::{Digest, Sha256};
use twox_hash::XxHash64;

use crate::probe::crc32c;

/// Bytes of a block that are set aside for its checksum.
const ROOM: usize = 32;

/// A kind of checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    Crc32c,
    XxHash,
    Sha256,
    /// BLAKE2b of 256 bits, which is not checked here.
    Blake2b,
}

impl Checksum {
    /// The kind that a superblock calls by this number.
    pub(super) fn of(number: u16) -> Option<Checksum> {
        Some(match number {
            0 => Checksum::Crc32c,
            1 => Checksum::XxHash,
            2 => Checksum::Sha256,
            3 => Checksum::Blake2b,
            _ => return None,
        })
    }

    /// Whether the checksum at the start of `block` is that of the rest.
    pub(super) fn is_right(self, block: &[u8]) -> bool {
        // Without this a fuzzer would see checksums that are wrong and nothing else.
        if cfg!(fuzzing) {
            return true;
        }
        let Some((said, rest)) = block.split_at_checked(ROOM) else {
            return false;
        };
        match self {
            Checksum::Crc32c => said.starts_with(&(!crc32c::update(!0, rest)).to_le_bytes()),
            Checksum::XxHash => said.starts_with(&XxHash64::oneshot(0, rest).to_le_bytes()),
            Checksum::Sha256 => said == Sha256::digest(rest).as_slice(),
            Checksum::Blake2b => true,
        }
    }
}
