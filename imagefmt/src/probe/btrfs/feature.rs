//! Features that not every reader knows: those without which nothing can be read, by their names.
//!
//! Linux, `include/uapi/linux/btrfs.h`, `BTRFS_FEATURE_INCOMPAT_…`, and `btrfs_tree.h`, `BTRFS_SUPER_FLAG_…`.

/// By their bits' places: their names, and whether they concern what is read here in a way that is known.
const FEATURES: &[(&str, bool)] = &[
    ("mixed back references", true),
    ("a default subvolume", true),
    ("data and metadata mixed", true),
    ("compression by LZO", true),
    ("compression by zstd", true),
    ("large metadata blocks", true),
    ("extended references of inodes", true),
    // Of what lies on several disks the chunks tell.
    ("RAID 5 or 6", true),
    ("skinny metadata", true),
    ("no items for holes", true),
    ("a UUID of its own in metadata", true),
    ("RAID 1 with three or four copies", true),
    ("zones", false),
    ("the second version of the extent tree", false),
    ("a tree of RAID stripes", false),
    ("a feature that is not known (bit 15)", false),
    ("simple quotas", true),
    ("a tree of chunks that were moved", false),
];

/// The bit that says that metadata have another UUID than the file system.
pub(super) const METADATA_UUID: u64 = 1 << 10;

/// Flags of a file system that is not whole, by their bits.
const UNFINISHED: &[(u32, &str)] = &[
    (33, "it is a dump of metadata, without the files"),
    (34, "it is a dump of metadata, without the files"),
    (35, "a change of its UUID was not finished: `btrfstune` does that"),
    (36, "a change of its UUID was not finished: `btrfstune` does that"),
    (
        39,
        "a change of its checksums was not finished: `btrfstune` does that",
    ),
    (
        40,
        "a change of its checksums was not finished: `btrfstune` does that",
    ),
];

/// The name of a feature among `features` that keeps the file system from being read.
pub(super) fn unknown(features: u64) -> Option<String> {
    (0..64_u32)
        .filter(|bit| has(features, *bit))
        .find_map(|bit| match FEATURES.get(bit as usize) {
            Some((_, true)) => None,
            Some((name, false)) => Some((*name).to_owned()),
            None => Some(format!("a feature that is not known (bit {bit})")),
        })
}

/// Why a file system with these flags is not whole.
pub(super) fn unfinished(flags: u64) -> Option<&'static str> {
    let mut known = UNFINISHED.iter();
    known.find(|(bit, _)| has(flags, *bit)).map(|(_, reason)| *reason)
}

fn has(bits: u64, bit: u32) -> bool {
    bits & 1_u64.checked_shl(bit).unwrap_or(0) != 0
}
