//! Why a disk was not imported or exported.

use std::io;

use super::Format;
use crate::disk::DiskError;

/// Everything that can go wrong. Each message begins with the name that the user gave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The source is no regular file.
    #[error("{name} is {what}, not a disk image")]
    NotAFile {
        /// The source.
        name: String,
        /// `a directory`, `a FIFO`, …
        what: &'static str,
    },
    /// The source has no bytes.
    #[error("{name} is empty (0 bytes), not a disk image")]
    Empty {
        /// The source.
        name: String,
    },
    /// The source is something else than a disk in a format that is taken.
    #[error("{name} is {found}; raw and qcow2 disk images can be imported{}", separated(.remedy))]
    Foreign {
        /// The source.
        name: String,
        /// What it is.
        found: &'static str,
        /// What its owner can do, as a command; empty if there is nothing.
        remedy: &'static str,
    },
    /// A raw disk whose length is no whole number of sectors.
    #[error(
        "{name} is {len} bytes long; the length of a raw disk image is a multiple of 512 (is it cut off?)"
    )]
    Length {
        /// The source.
        name: String,
        /// Its length in bytes.
        len: u64,
    },
    /// A qcow2 file that needs another file.
    #[error(
        "{name} has a backing file, \"{backing}\", which is not opened; \
         make it stand alone first: qemu-img convert -O qcow2 {name} NEW"
    )]
    Backing {
        /// The source.
        name: String,
        /// What the file names, with control characters escaped.
        backing: String,
    },
    /// A qcow2 file that is damaged, or has a feature that is not taken.
    #[error("{name} cannot be imported: {source}")]
    Source {
        /// The source.
        name: String,
        /// What is wrong.
        #[source]
        source: DiskError,
    },
    /// The source failed while it was read.
    #[error("reading {name} failed: {source}")]
    Read {
        /// The source.
        name: String,
        /// What the host says.
        #[source]
        source: io::Error,
    },
    /// The source is not what it was when it was opened.
    #[error("{name} was changed while it was imported; import it again once nothing writes to it any more")]
    Changed {
        /// The source.
        name: String,
    },
    /// The disk that is read failed.
    #[error("reading the disk failed: {0}")]
    ReadDisk(#[source] DiskError),
    /// The new layer could not be written.
    #[error("writing the new layer failed: {0}")]
    WriteLayer(#[source] DiskError),
    /// The exported file could not be written.
    #[error("writing the {format} file failed: {source}")]
    WriteFile {
        /// Its format.
        format: Format,
        /// What the host says.
        #[source]
        source: io::Error,
    },
    /// The exported file could not be written.
    #[error("writing the {format} file failed: {source}")]
    WriteDisk {
        /// Its format.
        format: Format,
        /// What went wrong.
        #[source]
        source: DiskError,
    },
}

fn separated(remedy: &str) -> String {
    if remedy.is_empty() {
        String::new()
    } else {
        format!(": {remedy}")
    }
}
