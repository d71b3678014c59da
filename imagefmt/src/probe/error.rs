//! Why a disk could not be probed.

use crate::disk::DiskError;

/// Everything that can go wrong while a disk is looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The disk below failed.
    #[error("reading {len} bytes at byte {offset} of the disk failed")]
    Read {
        /// Byte on the disk.
        offset: u64,
        /// Bytes wanted.
        len: usize,
        /// What the disk said.
        #[source]
        source: DiskError,
    },
    /// Something on the disk points beyond its end.
    #[error("{what} lies at byte {offset}, beyond the end of the disk ({size} bytes)")]
    BeyondEnd {
        /// What points there.
        what: String,
        /// Where it points.
        offset: u64,
        /// The disk's size.
        size: u64,
    },
    /// More would have to be read than any sound disk asks for.
    #[error("more than {limit} bytes would have to be read from the file system: it is damaged or hostile")]
    TooMuch {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Neither copy of a GPT can be used.
    #[error("the GPT partition table is damaged: its first copy: {primary}; its second copy: {backup}")]
    Gpt {
        /// What is wrong with the copy at the start.
        primary: String,
        /// What is wrong with the copy at the end.
        backup: String,
    },
    /// A table that was made for sectors of 4096 bytes.
    #[error(
        "the GPT partition table was made for sectors of {0} bytes; disks here have sectors of 512 bytes"
    )]
    SectorSize(u32),
    /// The file system is not one that can be read here.
    #[error("the file system is {found}; only ext2, ext3, ext4, XFS, Btrfs and FAT can be read")]
    Unsupported {
        /// Its name, or what is known of it.
        found: String,
    },
    /// The file system is damaged, or has a feature that is not known here.
    #[error("the {kind} file system cannot be read: {reason}")]
    Damaged {
        /// `ext2`, `ext3`, `ext4`, `FAT`, `XFS` or `Btrfs`.
        kind: &'static str,
        /// What the reader says.
        reason: String,
    },
    /// A file that is not written in place.
    #[error("{path} is not written where it lies: {reason}")]
    InPlace {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The disk below did not take a write.
    #[error("writing {len} bytes at byte {offset} of the disk failed")]
    Write {
        /// Byte on the disk.
        offset: u64,
        /// Bytes given.
        len: usize,
        /// What the disk said.
        #[source]
        source: DiskError,
    },
    /// A path that does not exist.
    #[error("there is no {path}")]
    NotFound {
        /// The path.
        path: String,
    },
    /// A path that is no regular file.
    #[error("{path} is {what}, not a file")]
    NotAFile {
        /// The path.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A file longer than its reader allows.
    #[error("{path} is {len} bytes long, more than the {cap} that are allowed")]
    TooLong {
        /// The path.
        path: String,
        /// Its length in bytes.
        len: u64,
        /// The most that is allowed, in bytes.
        cap: u64,
    },
    /// A path that exists but cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Path {
        /// The path.
        path: String,
        /// What the reader says.
        reason: String,
    },
}
