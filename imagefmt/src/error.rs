//! What can go wrong with a disk, with the file, place and operation in the message.

use std::io;

use crate::qcow2::Fault;

/// What a caller can act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskErrorKind {
    /// The request reaches beyond the disk's end.
    OutOfRange,
    /// The disk may only be read.
    ReadOnly,
    /// The host's file system is full, or over its quota.
    NoSpace,
    /// The host failed to read or write.
    Io,
    /// A file's bytes contradict its format: damage, or malice.
    Corrupt,
    /// A valid file that Kiln does not take, or not for this use.
    Refused,
    /// Another process uses the file.
    InUse,
    /// A file is missing.
    NotFound,
}

/// Why a request, or opening a disk, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The request reaches beyond the disk's end.
    #[error("{len} bytes at {offset} reach beyond the disk's end at {size}")]
    OutOfRange {
        /// Where the request starts.
        offset: u64,
        /// How long it is.
        len: u64,
        /// The disk's size.
        size: u64,
    },
    /// The disk may only be read.
    #[error("{path}: the disk is read-only")]
    ReadOnly {
        /// The file.
        path: String,
    },
    /// A system call failed.
    #[error("{path}: cannot {operation} at {offset}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What was tried, as a verb.
        operation: &'static str,
        /// Where in the file.
        offset: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// The file's bytes are not what they must be.
    #[error("{path}: {fault}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The files do not form a chain.
    #[error("{path}: {reason}")]
    Chain {
        /// The layer that does not fit.
        path: String,
        /// Why.
        reason: String,
    },
    /// Another process uses the file.
    #[error("{path}: in use by another process ({what}); stop it first")]
    InUse {
        /// The file.
        path: String,
        /// Which use collides.
        what: &'static str,
    },
}

impl DiskError {
    /// What a caller can act upon.
    pub fn kind(&self) -> DiskErrorKind {
        match self {
            Self::OutOfRange { .. } => DiskErrorKind::OutOfRange,
            Self::ReadOnly { .. } => DiskErrorKind::ReadOnly,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskErrorKind::NoSpace,
                io::ErrorKind::NotFound => DiskErrorKind::NotFound,
                _ => DiskErrorKind::Io,
            },
            Self::Format { fault, .. } if fault.is_refusal() => DiskErrorKind::Refused,
            Self::Format { .. } => DiskErrorKind::Corrupt,
            Self::Chain { .. } => DiskErrorKind::Refused,
            Self::InUse { .. } => DiskErrorKind::InUse,
        }
    }
}
