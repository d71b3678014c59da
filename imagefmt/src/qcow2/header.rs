//! The header (qcow2.rst, "Header" and "Header extensions"): parsed, and checked against QEMU's limits,
//! before anything else of a file is trusted.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use zerocopy::FromBytes;

use super::extensions::Extensions;
use super::fault::Fault;
use super::geometry::{ENTRY, Geometry, HostOffset};
use super::raw_header::{MAGIC, RawHeader, RawVersion3};
use crate::error::DiskError;
use crate::io::Host;

/// QEMU's `QCOW_MAX_L1_SIZE`: bounds the memory for the table.
const L1_LIMIT: u64 = 32 << 20;
/// QEMU's `QCOW_MAX_REFTABLE_SIZE`.
const REFCOUNT_TABLE_LIMIT: u64 = 8 << 20;
/// QEMU's `QCOW_MAX_SNAPSHOTS`.
const SNAPSHOT_LIMIT: u32 = 65536;
/// Longest name of a backing file.
pub(crate) const NAME_LIMIT: usize = 1023;

const INCOMPATIBLE_DIRTY: u64 = 1;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;

/// How compressed clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Raw deflate (RFC 1951).
    Deflate,
    /// zstd (RFC 8878).
    Zstd,
}

/// A table of the file: its place and number of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) at: HostOffset,
    pub(crate) entries: u64,
}

/// A checked header.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) geometry: Geometry,
    /// Size of the disk in bytes.
    pub(crate) size: u64,
    pub(crate) l1: Table,
    pub(crate) refcount_table: Table,
    /// Refcounts are 2^order bits wide.
    pub(crate) refcount_order: u32,
    pub(crate) compression: Compression,
    /// Number of internal snapshots.
    pub(crate) snapshots: u32,
    pub(crate) bitmaps: bool,
    /// The backing file's name as it stands in the header; nothing has been checked about it.
    pub(crate) backing_name: Option<String>,
    /// The backing file's format, if the header says it.
    pub(crate) backing_format: Option<String>,
}

impl Header {
    /// Reads and checks the header of a file.
    pub(crate) fn read(host: &Host) -> Result<Self, DiskError> {
        let format = |fault| DiskError::Format {
            path: host.name().to_string(),
            fault,
        };
        let len = host.length()?;
        let mut start = vec![0; usize::try_from(len.min(1 << 12)).unwrap_or(0)];
        host.read_exact(0, &mut start)?;
        let raw = RawHeader::read_from_prefix(&start).map(|(raw, _)| raw);
        let magic = start.first_chunk().copied().unwrap_or_default();
        let raw = match raw {
            _ if magic != MAGIC => return Err(format(Fault::Magic { found: magic })),
            Ok(raw) => raw,
            Err(_) => return Err(format(Fault::TruncatedHeader { len })),
        };
        let bits = raw.cluster_bits.get();
        let geometry = Geometry::new(bits).ok_or_else(|| format(Fault::ClusterBits(bits)))?;
        // Everything that the header points to inside of itself lies in the first cluster; of an overlay that is
        // mostly its first page, up to the backing file's name.
        let end = raw
            .backing_file_offset
            .get()
            .saturating_add(raw.backing_file_size.get().into());
        let mut first = start;
        if raw.backing_file_offset.get() == 0 || end > first.len() as u64 {
            first = vec![0; usize::try_from(len.min(geometry.cluster_size())).unwrap_or(0)];
            host.read_exact(0, &mut first)?;
        }
        Self::parse(&raw, geometry, &first, len).map_err(format)
    }

    /// Checks a header, of which `first` is the cluster it lies in, of a file of `len` bytes.
    fn parse(raw: &RawHeader, geometry: Geometry, first: &[u8], len: u64) -> Result<Self, Fault> {
        let truncated = Fault::TruncatedHeader { len };
        let version = raw.version.get();
        let (_, rest) = RawHeader::ref_from_prefix(first).map_err(|_| truncated.clone())?;
        let (header_length, extra) = match version {
            2 => (72, None),
            3 => {
                // A header of 104 bytes lacks the last eight; then they belong to what follows.
                let there = rest.get(..32).ok_or(truncated.clone())?;
                let padded = [there, &[0; 8]].concat();
                let mut extra = RawVersion3::read_from_bytes(&padded).map_err(|_| truncated.clone())?;
                let length = extra.header_length.get();
                if length < 104 || length % 8 != 0 || u64::from(length) > geometry.cluster_size() {
                    return Err(Fault::HeaderLength(length));
                }
                if length > 104 {
                    extra.compression_type = rest.get(32).copied().ok_or(truncated)?;
                }
                (length, Some(extra))
            }
            other => return Err(Fault::Version(other)),
        };
        let compression = match &extra {
            Some(extra) => check_features(extra)?,
            None => Compression::Deflate,
        };
        match raw.crypt_method.get() {
            0 => {}
            method => return Err(Fault::Encrypted(method)),
        }
        let refcount_order = extra.as_ref().map_or(4, |extra| extra.refcount_order.get());
        if refcount_order > 6 {
            return Err(Fault::RefcountOrder(refcount_order));
        }
        let size = raw.size.get();
        if !size.is_multiple_of(512) || size > i64::MAX as u64 {
            return Err(Fault::VirtualSize(size));
        }
        let backing_name = backing_name(raw, first, geometry)?;
        let extensions = Extensions::parse(raw, header_length, first, geometry)?;
        let header = Self {
            version,
            geometry,
            size,
            l1: Table {
                at: HostOffset(raw.l1_table_offset.get()),
                entries: raw.l1_size.get().into(),
            },
            refcount_table: Table {
                at: HostOffset(raw.refcount_table_offset.get()),
                entries: u64::from(raw.refcount_table_clusters.get()).saturating_mul(geometry.l2_entries()),
            },
            refcount_order,
            compression,
            snapshots: raw.nb_snapshots.get(),
            bitmaps: extensions.bitmaps,
            backing_name,
            backing_format: extensions.backing_format,
        };
        header.check_tables(raw.snapshots_offset.get(), len)?;
        Ok(header)
    }

    /// Sizes, alignment and place of the tables; that they lie inside of the file and nowhere overlap.
    fn check_tables(&self, snapshots: u64, len: u64) -> Result<(), Fault> {
        let limit = L1_LIMIT / ENTRY;
        if self.l1.entries > limit {
            return Err(Fault::TooLarge {
                table: "L1 table",
                entries: self.l1.entries,
                limit,
            });
        }
        let needed = self.geometry.l1_entries(self.size);
        if self.l1.entries < needed {
            return Err(Fault::L1TooSmall {
                entries: self.l1.entries,
                needed,
            });
        }
        let (entries, limit) = (self.refcount_table.entries, REFCOUNT_TABLE_LIMIT / ENTRY);
        if entries > limit {
            return Err(Fault::TooLarge {
                table: "refcount table",
                entries,
                limit,
            });
        }
        if self.snapshots > SNAPSHOT_LIMIT {
            let (entries, limit) = (self.snapshots.into(), SNAPSHOT_LIMIT.into());
            return Err(Fault::TooLarge {
                table: "snapshot table",
                entries,
                limit,
            });
        }
        let cluster = self.geometry.cluster_size();
        let mut placed = vec![("header", 0, cluster)];
        for (table, at, entries) in [
            ("L1 table", self.l1.at.0, self.l1.entries),
            ("refcount table", self.refcount_table.at.0, entries),
            // A snapshot's entry is at least 40 bytes long; each has a length of its own.
            (
                "snapshot table",
                snapshots,
                u64::from(self.snapshots).saturating_mul(5),
            ),
        ] {
            if entries == 0 && table != "refcount table" {
                continue;
            }
            if self.geometry.within(at) != 0 {
                return Err(Fault::Unaligned { table, offset: at });
            }
            let bytes = entries.max(1).saturating_mul(ENTRY);
            let end = at.saturating_add(bytes);
            if end > len {
                return Err(Fault::BeyondEnd {
                    table,
                    offset: at,
                    len,
                });
            }
            for (other, from, to) in &placed {
                if at < *to && *from < end {
                    return Err(Fault::Overlap {
                        one: other,
                        other: table,
                        offset: at,
                    });
                }
            }
            placed.push((table, at, end));
        }
        Ok(())
    }

    /// Whether this crate may write to the file: what it makes itself, and what QEMU makes by default.
    pub(crate) fn check_writable(&self) -> Result<(), Fault> {
        if self.snapshots != 0 {
            return Err(Fault::InternalSnapshots(self.snapshots));
        }
        if self.bitmaps {
            return Err(Fault::Bitmaps);
        }
        let foreign = match () {
            () if self.version != 3 => "it is version 2",
            () if self.geometry.bits() != 16 => "its clusters are not 64 KiB",
            () if self.refcount_order != 4 => "its refcounts are not 16 bits wide",
            () => return Ok(()),
        };
        Err(Fault::ForeignForWriting(foreign))
    }
}

/// The compression, after the feature bits have been found harmless.
fn check_features(extra: &RawVersion3) -> Result<Compression, Fault> {
    let features = extra.incompatible_features.get();
    let known = [
        (INCOMPATIBLE_CORRUPT, Fault::MarkedCorrupt),
        (INCOMPATIBLE_DIRTY, Fault::Dirty),
        (INCOMPATIBLE_DATA_FILE, Fault::ExternalDataFile),
        (INCOMPATIBLE_EXTENDED_L2, Fault::ExtendedL2),
    ];
    let unknown = known
        .iter()
        .fold(features & !INCOMPATIBLE_COMPRESSION, |left, (bit, _)| left & !bit);
    if unknown != 0 {
        return Err(Fault::UnknownFeatures(unknown));
    }
    if let Some((_, fault)) = known.into_iter().find(|(bit, _)| features & bit != 0) {
        return Err(fault);
    }
    match (features & INCOMPATIBLE_COMPRESSION != 0, extra.compression_type) {
        (_, 0) => Ok(Compression::Deflate),
        (true, 1) => Ok(Compression::Zstd),
        (_, other) => Err(Fault::CompressionMethod(other)),
    }
}

fn backing_name(raw: &RawHeader, first: &[u8], geometry: Geometry) -> Result<Option<String>, Fault> {
    let (offset, len) = (
        raw.backing_file_offset.get(),
        u64::from(raw.backing_file_size.get()),
    );
    if offset == 0 {
        return Ok(None);
    }
    let end = offset
        .checked_add(len)
        .filter(|end| *end <= geometry.cluster_size());
    if len == 0 || len > NAME_LIMIT as u64 {
        return Err(Fault::BackingName);
    }
    let range = usize::try_from(offset)
        .ok()
        .zip(end.and_then(|end| usize::try_from(end).ok()));
    let bytes = range
        .and_then(|(from, to)| first.get(from..to))
        .ok_or(Fault::BackingName)?;
    std::str::from_utf8(bytes)
        .map(|name| Some(name.to_string()))
        .map_err(|_| Fault::BackingName)
}
