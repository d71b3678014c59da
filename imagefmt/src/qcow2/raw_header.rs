//! The header's bytes (qcow2.rst, "Header" and "Header extensions").
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `QFI\xfb`.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// The part that versions 2 and 3 share: bytes 0 to 71.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawHeader {
    pub(crate) magic: [u8; 4],
    pub(crate) version: U32,
    pub(crate) backing_file_offset: U64,
    pub(crate) backing_file_size: U32,
    pub(crate) cluster_bits: U32,
    pub(crate) size: U64,
    pub(crate) crypt_method: U32,
    pub(crate) l1_size: U32,
    pub(crate) l1_table_offset: U64,
    pub(crate) refcount_table_offset: U64,
    pub(crate) refcount_table_clusters: U32,
    pub(crate) nb_snapshots: U32,
    pub(crate) snapshots_offset: U64,
}

/// What version 3 adds: bytes 72 to 111. The last eight are there from header length 112 on.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawVersion3 {
    pub(crate) incompatible_features: U64,
    pub(crate) compatible_features: U64,
    pub(crate) autoclear_features: U64,
    pub(crate) refcount_order: U32,
    pub(crate) header_length: U32,
    pub(crate) compression_type: u8,
    pub(crate) padding: [u8; 7],
}

/// The head of a header extension; its data follows, padded to 8 bytes.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawExtension {
    pub(crate) kind: U32,
    pub(crate) len: U32,
}

impl RawExtension {
    /// The extension that names the backing file's format.
    pub(crate) const BACKING_FORMAT: u32 = 0xe279_2aca;
}
