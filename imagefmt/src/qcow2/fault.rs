//! Everything that can be wrong with a qcow2 file, by name.

/// Why a qcow2 file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The first four bytes are not `QFI\xfb`.
    #[error("not a qcow2 file (its first bytes are {found:02x?})")]
    Magic {
        /// The first bytes.
        found: [u8; 4],
    },
    /// The file ends before its header does.
    #[error("truncated: the file ends within the header, at {len}")]
    TruncatedHeader {
        /// The file's length.
        len: u64,
    },
    /// A version that is neither 2 nor 3.
    #[error("qcow2 version {0} is not supported (2 and 3 are)")]
    Version(u32),
    /// The header's own length makes no sense.
    #[error("header length {0} is not a multiple of 8 between 104 and the cluster size")]
    HeaderLength(u32),
    /// A cluster size outside of QEMU's limits.
    #[error("cluster size 2^{0} is outside of 2^9 to 2^21")]
    ClusterBits(u32),
    /// The guest's data is encrypted.
    #[error("encrypted images are not supported (encryption method {0})")]
    Encrypted(u32),
    /// Incompatible features that are not known.
    #[error("unknown incompatible features {0:#x}")]
    UnknownFeatures(u64),
    /// The guest's data is in another file.
    #[error("an external data file is not supported")]
    ExternalDataFile,
    /// Subclusters.
    #[error("extended L2 entries (subclusters) are not supported")]
    ExtendedL2,
    /// Refcounts may be stale: someone else crashed while writing it.
    #[error("the dirty bit is set: run `qemu-img check -r all` on it first")]
    Dirty,
    /// Marked corrupt.
    #[error("the image is marked corrupt")]
    MarkedCorrupt,
    /// Compression by a method that is neither deflate nor zstd.
    #[error("compression method {0} is not supported")]
    CompressionMethod(u8),
    /// A refcount width outside of the format.
    #[error("refcount order {0} is more than 6")]
    RefcountOrder(u32),
    /// Not a disk.
    #[error("virtual size {0} is not a multiple of 512 bytes, or too large")]
    VirtualSize(u64),
    /// A table's place is impossible.
    #[error("the {table} at {offset:#x} is not aligned to a cluster")]
    Unaligned {
        /// Which table.
        table: &'static str,
        /// Where it should be.
        offset: u64,
    },
    /// A table reaches beyond the end of the file.
    #[error("the {table} at {offset:#x} reaches beyond the end of the file at {len:#x}")]
    BeyondEnd {
        /// Which table.
        table: &'static str,
        /// Where it should be.
        offset: u64,
        /// The file's length.
        len: u64,
    },
    /// A table is larger than QEMU would take.
    #[error("the {table} has {entries} entries, more than the limit of {limit}")]
    TooLarge {
        /// Which table.
        table: &'static str,
        /// How many entries it has.
        entries: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// The L1 table does not reach the disk's end.
    #[error("the L1 table has {entries} entries, but the virtual size needs {needed}")]
    L1TooSmall {
        /// How many entries it has.
        entries: u64,
        /// How many it would need.
        needed: u64,
    },
    /// Two structures claim the same cluster.
    #[error("the {one} and the {other} overlap at {offset:#x}")]
    Overlap {
        /// The first.
        one: &'static str,
        /// The second.
        other: &'static str,
        /// Where.
        offset: u64,
    },
    /// Reserved bits of a table entry are set.
    #[error("the {table} entry {entry:#018x} has reserved bits set")]
    Reserved {
        /// Which table.
        table: &'static str,
        /// The entry.
        entry: u64,
    },
    /// The header's extensions run over their end.
    #[error("the header extensions are malformed at {0}")]
    Extensions(u64),
    /// The backing file's name is too long, outside of the header, or no text.
    #[error("the backing file's name is malformed")]
    BackingName,
    /// The backing file is not qcow2.
    #[error("the backing file's format is `{0}`; only qcow2 layers on qcow2 layers are supported")]
    BackingFormat(String),
    /// Snapshots inside of the file.
    #[error("the image holds {0} internal snapshots")]
    InternalSnapshots(u32),
    /// Persistent bitmaps inside of the file.
    #[error("the image holds persistent bitmaps, which a write would leave stale")]
    Bitmaps,
    /// A file that Kiln reads but does not write.
    #[error("the image can be read, but not written: {0}")]
    ForeignForWriting(&'static str),
    /// A compressed cluster does not inflate to a whole cluster.
    #[error("the compressed cluster for guest offset {guest:#x} is damaged: {reason}")]
    Compressed {
        /// The guest's offset of the cluster.
        guest: u64,
        /// Why.
        reason: &'static str,
    },
    /// Reference counts contradict the references: a write could destroy data.
    #[error("{count} corruptions, the first: {first}")]
    Corruptions {
        /// How many.
        count: u64,
        /// The first one, in words.
        first: String,
    },
    /// The file cannot grow further.
    #[error("the refcount table is full at {0} bytes of file")]
    RefcountTableFull(u64),
    /// No refcount block counts a cluster that is in use.
    #[error("no refcount block counts cluster {0}")]
    Uncounted(u64),
    /// The tables of a chain would take too much memory.
    #[error("the L1 tables of the chain would take more than {0} bytes of memory")]
    TablesTooLarge(u64),
    /// More L2 tables than the file has clusters.
    #[error("the L1 table names {tables} L2 tables, but the file has {clusters} clusters")]
    TablesShared {
        /// L2 tables.
        tables: u64,
        /// Clusters of the file.
        clusters: u64,
    },
    /// More data than compression can have made so small.
    #[error("its {len} bytes stand for {data} bytes of data: more than {limit} times as many")]
    Expands {
        /// Length of the file, or what it holds.
        len: u64,
        /// Bytes of data on the disk.
        data: u64,
        /// How many times as many are allowed.
        limit: u64,
    },
    /// A new overlay that is not empty.
    #[error("the new overlay is not empty")]
    NotEmpty,
    /// The header's fields do not fit into it.
    #[error("the backing file's name of {0} bytes does not fit into the header (limit 1023)")]
    NameTooLong(usize),
}

impl Fault {
    /// Whether the file may be in order, but is not for us; otherwise its bytes are damaged.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Magic { .. }
                | Self::Version(_)
                | Self::Encrypted(_)
                | Self::UnknownFeatures(_)
                | Self::ExternalDataFile
                | Self::ExtendedL2
                | Self::Dirty
                | Self::CompressionMethod(_)
                | Self::BackingFormat(_)
                | Self::InternalSnapshots(_)
                | Self::Bitmaps
                | Self::ForeignForWriting(_)
                | Self::TablesTooLarge(_)
                | Self::NotEmpty
                | Self::NameTooLong(_)
                | Self::RefcountTableFull(_)
        )
    }
}
