//! The superblock: the first sector of the file system, and what follows from it.
//!
//! "XFS Algorithms & Data Structures", 3rd edition, part III, "Superblocks"; features that are newer than the
//! book are those of Linux' `fs/xfs/libxfs/xfs_format.h`. All numbers but checksums are big-endian.

use uuid::Uuid;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::seal;
use crate::probe::Window;

/// Bits of the version: directories of version 2, names that know no case, more bits elsewhere.
const VERSION_FOLDERS_2: u16 = 0x2000;
const VERSION_CASE_BLIND: u16 = 0x4000;
const VERSION_MORE: u16 = 0x8000;
/// Of those bits, in version 4: entries of folders tell what they lead to.
const FEATURES2_FILE_TYPES: u32 = 0x200;

/// Features of version 5 without which nothing can be read, by their bits' places: their names, and whether
/// they concern what is read here in a way that is known.
const FEATURES: &[(&str, bool)] = &[
    ("file types in folders", true),
    ("sparse inode chunks", true),
    ("a UUID of its own in metadata", true),
    ("times after 2038", true),
    ("a need of repair", true),
    ("large counts of extents", true),
    ("exchanges of ranges", true),
    ("parent pointers", true),
    ("a tree of metadata", true),
    ("zones", false),
    ("gaps between zones", false),
];
const FEATURE_FILE_TYPES: u32 = 0x1;
const FEATURE_META_UUID: u32 = 0x4;
const FEATURE_NEEDS_REPAIR: u32 = 0x10;

/// The fewest blocks of an allocation group.
const AG_BLOCKS_LEAST: u64 = 64;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 4],
    block_size: U32,
    blocks: U64,
    _realtime: [U64; 2],
    uuid: [u8; 16],
    log_start: U64,
    root: U64,
    _realtime_inodes: [U64; 2],
    _realtime_extent: U32,
    ag_blocks: U32,
    ag_count: U32,
    _bitmap_blocks: U32,
    log_blocks: U32,
    version: U16,
    sector_size: U16,
    inode_size: U16,
    inodes_per_block: U16,
    label: [u8; 12],
    block_log: u8,
    _sector_log: u8,
    inode_log: u8,
    inodes_per_block_log: u8,
    ag_block_log: u8,
    _realtime_extent_log: u8,
    in_progress: u8,
    _inode_percent: u8,
    _counts: [U64; 4],
    _quota: [u8; 20],
    _inode_alignment: U32,
    _stripes: [U32; 2],
    folder_block_log: u8,
    _log_sector: [u8; 7],
    features2: U32,
    _bad_features2: U32,
    _features_compat: U32,
    _features_read_only: U32,
    features: U32,
    _features_log: U32,
    _checksum: U32,
    _sparse_alignment: U32,
    _project_quota: U64,
    _lsn: U64,
    meta_uuid: [u8; 16],
}

/// Where the checksum lies in it.
const CHECKSUM: usize = 224;

const _: () = assert!(std::mem::offset_of!(Raw, label) == 108);
const _: () = assert!(std::mem::offset_of!(Raw, folder_block_log) == 192);
const _: () = assert!(std::mem::offset_of!(Raw, _checksum) == CHECKSUM);
const _: () = assert!(size_of::<Raw>() == 264);

/// The label of the file system that begins with `head`, if it has one.
pub(crate) fn label(head: &[u8]) -> Option<String> {
    let (raw, _) = Raw::read_from_prefix(head).ok()?;
    let label = raw.label.split(|byte| *byte == 0).next()?;
    (!label.is_empty()).then(|| String::from_utf8_lossy(label).into_owned())
}

/// What the superblock says, checked; sizes in bytes unless they say otherwise.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) block_size: u64,
    pub(super) block_log: u32,
    /// Blocks of the file system.
    blocks: u64,
    /// Blocks of an allocation group; the last one may have fewer.
    ag_blocks: u64,
    /// The bits of a block's number that count within its group.
    ag_block_log: u32,
    pub(super) inode_size: usize,
    inodes_per_block_log: u32,
    /// The inode of the root folder.
    pub(super) root: u64,
    /// A block of a folder: one or several blocks.
    pub(super) folder_block: u64,
    /// Whether entries of folders tell what they lead to.
    pub(super) has_file_types: bool,
    /// Whether names of folders are compared without regard to the case of ASCII letters.
    pub(super) is_case_blind: bool,
    /// Version 5: metadata have checksums.
    pub(super) is_v5: bool,
    /// Whether it is marked as damaged until `xfs_repair` has run.
    pub(super) needs_repair: bool,
    pub(super) uuid: Uuid,
    /// The UUID in the metadata of version 5.
    pub(super) meta_uuid: [u8; 16],
    /// The first byte of the log, and how many it has; none if it lies on another disk.
    pub(super) log: Option<(u64, u64)>,
}

impl Superblock {
    /// Parses the superblock of the file system in `window`, which begins with `head`; or why it is refused.
    pub(super) fn parse(head: &[u8], window: &Window) -> Result<Superblock, String> {
        let senseless = || "its superblock makes no sense".to_owned();
        let (raw, _) = Raw::read_from_prefix(head).map_err(|_| senseless())?;
        let version = raw.version.get();
        let is_v5 = version & 0xF == 5;
        if !is_v5 && (version & 0xF != 4 || version & VERSION_FOLDERS_2 == 0) {
            return Err(format!("it is of a version that is not known ({version:#06x})"));
        }
        if is_v5 {
            let sector = usize::from(raw.sector_size.get());
            let sector = head
                .get(..sector)
                .filter(|_| sector >= 512)
                .ok_or_else(senseless)?;
            if !seal::is_whole(sector, CHECKSUM) {
                return Err("the checksum of its superblock is wrong".into());
            }
            if let Some(name) = unknown(raw.features.get()) {
                return Err(format!("it has {name}, which cannot be read"));
            }
        }
        let superblock = raw.checked(is_v5).ok_or_else(senseless)?;
        if raw.in_progress != 0 {
            return Err("it was not made to its end".into());
        }
        let len = superblock.blocks.saturating_mul(superblock.block_size);
        if len > window.len() {
            return Err(format!(
                "it is {len} bytes long, more than the {} that are there",
                window.len()
            ));
        }
        Ok(superblock)
    }

    /// Where `count` blocks from number `block` on lie; none if they do not, in one group.
    pub(super) fn offset(&self, block: u64, count: u64) -> Option<u64> {
        let group = block.checked_shr(self.ag_block_log)?;
        let within = block.checked_sub(group.checked_shl(self.ag_block_log)?)?;
        let end = within.checked_add(count)?;
        let first = group.checked_mul(self.ag_blocks)?.checked_add(within)?;
        if count == 0 || end > self.ag_blocks || first.checked_add(count)? > self.blocks {
            return None;
        }
        first.checked_mul(self.block_size)
    }

    /// Where an inode lies; none if it cannot.
    pub(super) fn inode_offset(&self, number: u64) -> Option<u64> {
        let block = number.checked_shr(self.inodes_per_block_log)?;
        let nth = number.checked_sub(block.checked_shl(self.inodes_per_block_log)?)?;
        self.offset(block, 1)?
            .checked_add(nth.checked_mul(self.inode_size as u64)?)
    }
}

impl Raw {
    /// The numbers, if they agree with each other.
    fn checked(&self, is_v5: bool) -> Option<Superblock> {
        let block_size = u64::from(self.block_size.get());
        let block_log = log_of(block_size, self.block_log, 512, 64 << 10)?;
        let inode_size = u64::from(self.inode_size.get());
        let inode_log = log_of(inode_size, self.inode_log, if is_v5 { 512 } else { 256 }, 2048)?;
        let inodes_per_block = u64::from(self.inodes_per_block.get());
        let inodes_per_block_log = log_of(inodes_per_block, self.inodes_per_block_log, 1, 256)?;
        let folder_block = block_size.checked_shl(u32::from(self.folder_block_log))?;
        let ag_blocks = u64::from(self.ag_blocks.get());
        let ag_count = u64::from(self.ag_count.get());
        let blocks = self.blocks.get();
        // The groups before the last one are whole, and the last one is not empty.
        let least = ag_blocks.checked_mul(ag_count.checked_sub(1)?)?;
        let sound = inode_log.checked_add(inodes_per_block_log)? == block_log
            && self.folder_block_log < 8
            && folder_block <= 64 << 10
            && ag_blocks >= AG_BLOCKS_LEAST
            && ag_blocks.next_power_of_two() == 1_u64.checked_shl(u32::from(self.ag_block_log))?
            && blocks > least
            && blocks <= ag_blocks.checked_mul(ag_count)?
            && blocks.checked_mul(block_size).is_some();
        let more = self.version.get() & VERSION_MORE != 0;
        let features = self.features.get();
        let mut superblock = Superblock {
            block_size,
            block_log,
            blocks,
            ag_blocks,
            ag_block_log: u32::from(self.ag_block_log),
            inode_size: usize::from(self.inode_size.get()),
            inodes_per_block_log,
            root: self.root.get(),
            folder_block,
            has_file_types: match is_v5 {
                true => features & FEATURE_FILE_TYPES != 0,
                false => more && self.features2.get() & FEATURES2_FILE_TYPES != 0,
            },
            is_case_blind: self.version.get() & VERSION_CASE_BLIND != 0,
            is_v5,
            needs_repair: is_v5 && features & FEATURE_NEEDS_REPAIR != 0,
            uuid: Uuid::from_bytes(self.uuid),
            meta_uuid: match is_v5 && features & FEATURE_META_UUID != 0 {
                true => self.meta_uuid,
                false => self.uuid,
            },
            log: None,
        };
        if self.log_start.get() != 0 {
            let blocks = u64::from(self.log_blocks.get());
            let start = superblock.offset(self.log_start.get(), blocks)?;
            superblock.log = Some((start, blocks.checked_mul(block_size)?));
        }
        sound.then_some(superblock)
    }
}

/// The logarithm of `size`, which is a power of two from `least` to `most`, as `said`.
fn log_of(size: u64, said: u8, least: u64, most: u64) -> Option<u32> {
    let sound = size.is_power_of_two() && (least..=most).contains(&size);
    let log = sound.then(|| size.ilog2())?;
    (log == u32::from(said)).then_some(log)
}

/// The name of a feature that keeps the file system from being read.
fn unknown(features: u32) -> Option<String> {
    (0..32_u32)
        .filter(|bit| features & 1_u32.checked_shl(*bit).unwrap_or(0) != 0)
        .find_map(|bit| match FEATURES.get(bit as usize) {
            Some((_, true)) => None,
            Some((name, false)) => Some((*name).to_owned()),
            None => Some(format!("a feature that is not known (bit {bit})")),
        })
}
