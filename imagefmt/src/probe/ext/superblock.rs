//! The superblock of ext2, ext3 and ext4: byte 1024 of the file system.
//!
//! Linux, `Documentation/filesystems/ext4/super.rst`; names are those of that page without `s_`.

use uuid::Uuid;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the superblock begins, in bytes.
pub(crate) const OFFSET: usize = 1024;
/// Its length in bytes.
pub(crate) const LEN: usize = 1024;

const MAGIC: u16 = 0xEF53;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
const INCOMPAT_64BIT: u32 = 0x80;
/// Guards against a second writer, EA values in inodes of their own: neither changes how names
/// and file contents are read.
const INCOMPAT_HARMLESS: u32 = 0x100 | 0x400;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const RO_COMPAT_READ_ONLY: u32 = 0x1000;
const RO_COMPAT_SHARED_BLOCKS: u32 = 0x4000;

/// What ext3 may have: file types in directories, recovery, meta block groups.
const INCOMPAT_EXT3: u32 = 0x2 | INCOMPAT_RECOVER | 0x10;
/// What ext3 may have: sparse superblocks, large files, b-tree directories.
const RO_COMPAT_EXT3: u32 = 0x1 | 0x2 | 0x4;

/// The most block groups that are accepted: 128 TiB with blocks of 4 KiB, twice the largest EBS
/// volume. The reader allocates a descriptor for each of them.
const GROUP_LIMIT: u64 = 1 << 20;

/// The superblock as it lies on the disk.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub(crate) struct Superblock {
    inodes_count: U32,
    blocks_count_lo: U32,
    _reserved_blocks_lo: U32,
    _free_blocks_lo: U32,
    _free_inodes: U32,
    first_data_block: U32,
    log_block_size: U32,
    _log_cluster_size: U32,
    blocks_per_group: U32,
    _clusters_per_group: U32,
    inodes_per_group: U32,
    _times: [U32; 2],
    _mounts: [U16; 2],
    magic: U16,
    _state: [U16; 3],
    _check: [U32; 4],
    _reserved_ids: [U16; 2],
    _first_inode: U32,
    inode_size: U16,
    _block_group: U16,
    feature_compat: U32,
    feature_incompat: U32,
    feature_ro_compat: U32,
    uuid: [u8; 16],
    volume_name: [u8; 16],
    _last_mounted: [u8; 64],
    _compression: U32,
    _prealloc: [u8; 4],
    _journal_uuid: [u8; 16],
    journal_inode: U32,
    _journal_device: U32,
    _last_orphan: U32,
    _hash_seed: [u8; 16],
    _hash_version: u8,
    _journal_backup_type: u8,
    desc_size: U16,
    _mount_options: U32,
    _first_meta_group: U32,
    _mkfs_time: U32,
    _journal_blocks: [u8; 68],
    blocks_count_hi: U32,
    _rest: [u8; 0x3fc - 0x154],
    checksum: U32,
}

impl Superblock {
    /// The superblock in the first bytes of a file system; none if there is none.
    pub(crate) fn parse(head: &[u8]) -> Option<Superblock> {
        let (superblock, _) = Superblock::read_from_prefix(head.get(OFFSET..)?).ok()?;
        let sound = superblock.magic.get() == MAGIC
            && superblock.log_block_size.get() <= 6
            && superblock.inodes_count.get() != 0
            && superblock.blocks_count() != 0;
        sound.then_some(superblock)
    }

    /// Whether it is no file system, but the journal of one that lies elsewhere.
    pub(crate) fn is_journal(&self) -> bool {
        self.feature_incompat.get() & INCOMPAT_JOURNAL_DEV != 0
    }

    /// `ext2`, `ext3` or `ext4`, as libblkid tells them apart.
    pub(crate) fn family(&self) -> &'static str {
        let newer = self.feature_incompat.get() & !INCOMPAT_EXT3 != 0
            || self.feature_ro_compat.get() & !RO_COMPAT_EXT3 != 0;
        match (newer, self.feature_compat.get() & COMPAT_HAS_JOURNAL != 0) {
            (true, _) => "ext4",
            (false, true) => "ext3",
            (false, false) => "ext2",
        }
    }

    /// Its UUID.
    pub(crate) fn uuid(&self) -> Uuid {
        Uuid::from_bytes(self.uuid)
    }

    /// Its label, if it has one.
    pub(crate) fn label(&self) -> Option<String> {
        let name = self
            .volume_name
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
    }

    /// Bytes of a block: 1 KiB to 64 KiB.
    pub(crate) fn block_size(&self) -> u32 {
        1024u32
            .checked_shl(self.log_block_size.get().min(6))
            .unwrap_or(1024)
    }

    /// How many blocks the file system has.
    pub(crate) fn blocks_count(&self) -> u64 {
        let high = if self.feature_incompat.get() & INCOMPAT_64BIT != 0 {
            self.blocks_count_hi.get()
        } else {
            0
        };
        u64::from(high) << 32 | u64::from(self.blocks_count_lo.get())
    }

    /// The first block of group 0: 1 where blocks are 1 KiB, else 0.
    pub(crate) fn first_data_block(&self) -> u64 {
        u64::from(self.first_data_block.get())
    }

    /// Bytes of an inode on the disk.
    pub(crate) fn inode_size(&self) -> u16 {
        self.inode_size.get()
    }

    /// The inode that holds the journal; 0 for none.
    pub(crate) fn journal_inode(&self) -> u32 {
        self.journal_inode.get()
    }

    /// Whether block group descriptors carry the high halves of their addresses.
    pub(crate) fn has_wide_descriptors(&self) -> bool {
        self.feature_incompat.get() & INCOMPAT_64BIT != 0 && self.desc_size.get() >= 64
    }

    /// Bytes of a block group's descriptor.
    pub(crate) fn descriptor_size(&self) -> u64 {
        if self.has_wide_descriptors() {
            u64::from(self.desc_size.get())
        } else {
            32
        }
    }

    /// The block group of an inode, and its index in the group's table; none if it does not exist.
    pub(crate) fn place_of_inode(&self, inode: u32) -> Option<(u64, u64)> {
        let index = u64::from(inode.checked_sub(1)?);
        let per_group = u64::from(self.inodes_per_group.get());
        let exists = inode <= self.inodes_count.get();
        exists.then_some((index.checked_div(per_group)?, index.checked_rem(per_group)?))
    }

    /// Whether writing a file's block may change more than that file, or is forbidden.
    pub(crate) fn forbids_writes(&self) -> bool {
        self.feature_ro_compat.get() & (RO_COMPAT_READ_ONLY | RO_COMPAT_SHARED_BLOCKS) != 0
    }

    /// Whether inode `inode` lies in the first block group.
    pub(crate) fn is_in_first_group(&self, inode: u32) -> bool {
        inode != 0 && inode <= self.inodes_per_group.get()
    }

    /// Whether committed changes may still be in the journal only.
    pub(crate) fn needs_recovery(&self) -> bool {
        self.feature_compat.get() & COMPAT_HAS_JOURNAL != 0
            && self.feature_incompat.get() & INCOMPAT_RECOVER != 0
    }

    /// Why the file system, in a partition of `len` bytes, cannot be trusted as far as its size.
    pub(crate) fn implausible(&self, len: u64) -> Option<String> {
        let bytes = self.blocks_count().checked_mul(u64::from(self.block_size()));
        if bytes.is_none_or(|bytes| bytes > len) {
            let blocks = self.blocks_count();
            let size = self.block_size();
            return Some(format!(
                "it says it has {blocks} blocks of {size} bytes, but there are {len} bytes"
            ));
        }
        let per_group = u64::from(self.blocks_per_group.get());
        let groups = self.blocks_count().checked_div(per_group)?;
        (groups > GROUP_LIMIT).then(|| format!("it says it has {groups} block groups"))
    }

    /// The superblock as the reader shall see it: no journal to apply, since ours is applied
    /// already, and without features that do not concern reading; its checksum made anew.
    pub(crate) fn for_reader(&self) -> [u8; LEN] {
        let mut changed = self.clone();
        let masked = self.feature_incompat.get() & !(INCOMPAT_RECOVER | INCOMPAT_HARMLESS);
        changed.feature_incompat = U32::new(masked);
        // Without the feature the field says nothing; the reader would believe it, and allocate for it.
        if self.feature_incompat.get() & INCOMPAT_64BIT == 0 {
            changed.blocks_count_hi = U32::new(0);
        }
        let mut bytes: [u8; LEN] = zerocopy::transmute!(changed);
        if self.feature_ro_compat.get() & RO_COMPAT_METADATA_CSUM != 0
            && let Some((covered, sum)) = bytes.split_last_chunk_mut::<4>()
        {
            *sum = crate::probe::crc32c::update(!0, covered).to_le_bytes();
        }
        bytes
    }
}

const _: () = assert!(size_of::<Superblock>() == LEN);
const _: () = assert!(std::mem::offset_of!(Superblock, magic) == 0x38);
const _: () = assert!(std::mem::offset_of!(Superblock, feature_compat) == 0x5c);
const _: () = assert!(std::mem::offset_of!(Superblock, journal_inode) == 0xe0);
const _: () = assert!(std::mem::offset_of!(Superblock, desc_size) == 0xfe);
const _: () = assert!(std::mem::offset_of!(Superblock, blocks_count_hi) == 0x150);
