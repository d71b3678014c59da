//! The superblock: 4 KiB at byte 64 KiB of the file system, and what follows from it.
//!
//! Linux, `include/uapi/linux/btrfs_tree.h`, `struct btrfs_super_block`. All numbers of Btrfs are little-endian.
//! Copies lie at 64 MiB and 256 GiB. Linux mounts by the first one or not at all, so that it is the only one that is
//! read here; where it is damaged, a copy that is whole is told of.

use uuid::Uuid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum::Checksum;
use super::feature;
use super::tree::Root;
use crate::probe::Window;

/// Where it lies, and its copies.
const PLACE: u64 = 64 << 10;
const COPIES: [(u64, &str); 2] = [(64 << 20, "64 MiB"), (256 << 30, "256 GiB")];

/// Bytes of it.
const SIZE: usize = 4096;

/// Where the label lies in it, as the mark of the file system does.
const LABEL: usize = 0x12B;

/// What stands for it.
const MAGIC: &[u8; 8] = b"_BHRfS_M";

/// The most levels of a tree, as in Linux.
pub(super) const LEVEL_LIMIT: u8 = 8;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    _checksum: [u8; 32],
    uuid: [u8; 16],
    place: U64,
    flags: U64,
    magic: [u8; 8],
    generation: U64,
    root: U64,
    chunk_root: U64,
    log_root: U64,
    _log_root_generation: U64,
    _total_bytes: U64,
    _bytes_used: U64,
    root_folder: U64,
    devices: U64,
    sector_size: U32,
    node_size: U32,
    _leaf_size: U32,
    _stripe_size: U32,
    chunks_len: U32,
    chunk_root_generation: U64,
    _features_compat: U64,
    _features_read_only: U64,
    features: U64,
    checksum: U16,
    root_level: u8,
    chunk_root_level: u8,
    _log_root_level: u8,
    device: U64,
    device_len: U64,
    _device: [u8; 82],
    label: [u8; 256],
    _cache_generation: U64,
    _uuid_tree_generation: U64,
    meta_uuid: [u8; 16],
    _reserved: [u8; 224],
    chunks: [u8; 2048],
    _backups: [u8; 672],
    _padding: [u8; 565],
}

const _: () = assert!(std::mem::offset_of!(Raw, magic) == 0x40);
const _: () = assert!(std::mem::offset_of!(Raw, checksum) == 0xC4);
const _: () = assert!(std::mem::offset_of!(Raw, label) == LABEL);
const _: () = assert!(std::mem::offset_of!(Raw, meta_uuid) == 0x23B);
const _: () = assert!(std::mem::offset_of!(Raw, chunks) == 0x32B);
const _: () = assert!(size_of::<Raw>() == SIZE);

/// The label of the file system that begins with `head`, if it has one.
pub(crate) fn label(head: &[u8]) -> Option<String> {
    let (raw, _) = Raw::ref_from_prefix(head.get(PLACE as usize..)?).ok()?;
    let label = raw.label.split(|byte| *byte == 0).next()?;
    (!label.is_empty()).then(|| String::from_utf8_lossy(label).into_owned())
}

/// What the superblock says, checked; sizes in bytes.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) sector_size: usize,
    pub(super) node_size: usize,
    pub(super) checksum: Checksum,
    pub(super) uuid: Uuid,
    /// The UUID in metadata.
    pub(super) meta_uuid: [u8; 16],
    /// The tree of trees.
    pub(super) root: Root,
    /// The tree of chunks.
    pub(super) chunk_root: Root,
    /// The folder in the tree of trees that names the default subvolume.
    pub(super) root_folder: u64,
    /// Whether there is a log of what came after the last commit.
    pub(super) has_log: bool,
    /// The number of the one disk.
    pub(super) device: u64,
    /// Chunks in which the tree of chunks lies: keys and items, one behind the other.
    pub(super) chunks: Vec<u8>,
}

impl Superblock {
    /// Parses the superblock of the file system in `window`, which begins with `head`; or why it is refused.
    pub(super) fn parse(head: &[u8], window: &Window) -> Result<Superblock, String> {
        let senseless = || "its superblock makes no sense".to_owned();
        let bytes = head.get(PLACE as usize..).and_then(|rest| rest.get(..SIZE));
        let bytes = bytes.ok_or_else(senseless)?;
        let raw = Raw::ref_from_bytes(bytes).map_err(|_| senseless())?;
        let checksum = raw.checksum.get();
        let checksum = Checksum::of(checksum)
            .ok_or_else(|| format!("it has checksums of a kind that is not known ({checksum})"))?;
        if !checksum.is_right(bytes) {
            return Err(damaged(window));
        }
        if let Some(name) = feature::unknown(raw.features.get()) {
            return Err(format!("it has {name}, which cannot be read"));
        }
        if let Some(reason) = feature::unfinished(raw.flags.get()) {
            return Err(reason.into());
        }
        let devices = raw.devices.get();
        if devices > 1 {
            return Err(format!(
                "it lies on {devices} disks; only one that lies on a single disk can be read"
            ));
        }
        let superblock = raw.checked(checksum).ok_or_else(senseless)?;
        let len = raw.device_len.get();
        if len > window.len() {
            return Err(format!(
                "it is {len} bytes long, more than the {} that are there",
                window.len()
            ));
        }
        Ok(superblock)
    }
}

impl Raw {
    /// The numbers, if they agree with each other.
    fn checked(&self, checksum: Checksum) -> Option<Superblock> {
        let sizes = 2048..=64 << 10;
        let size = |size: u32| (size.is_power_of_two() && sizes.contains(&size)).then_some(size as usize);
        let (sector_size, node_size) = (size(self.sector_size.get())?, size(self.node_size.get())?);
        let generation = self.generation.get();
        let len = usize::try_from(self.chunks_len.get()).ok()?;
        let sound = self.magic == *MAGIC
            && self.place.get() == PLACE
            && self.devices.get() == 1
            && node_size >= sector_size
            && self.root_level < LEVEL_LIMIT
            && self.chunk_root_level < LEVEL_LIMIT;
        let superblock = Superblock {
            sector_size,
            node_size,
            checksum,
            uuid: Uuid::from_bytes(self.uuid),
            meta_uuid: match self.features.get() & feature::METADATA_UUID {
                0 => self.uuid,
                _ => self.meta_uuid,
            },
            root: Root {
                place: self.root.get(),
                level: self.root_level,
                generation,
            },
            chunk_root: Root {
                place: self.chunk_root.get(),
                level: self.chunk_root_level,
                generation: self.chunk_root_generation.get(),
            },
            root_folder: self.root_folder.get(),
            has_log: self.log_root.get() != 0,
            device: self.device.get(),
            chunks: self.chunks.get(..len)?.to_vec(),
        };
        sound.then_some(superblock)
    }
}

/// That the superblock is damaged, and whether a copy of it is whole.
fn damaged(window: &Window) -> String {
    let whole = COPIES.iter().find(|(place, _)| {
        let bytes = window.read_up_to(*place, SIZE).unwrap_or_default();
        Raw::ref_from_bytes(&bytes).is_ok_and(|raw| {
            let checksum = Checksum::of(raw.checksum.get());
            raw.magic == *MAGIC
                && raw.place.get() == *place
                && checksum.is_some_and(|checksum| checksum.is_right(&bytes))
        })
    });
    match whole {
        Some((_, place)) => format!(
            "the checksum of its superblock is wrong (the copy at {place} is whole: `btrfs rescue super-recover` \
             puts it back)"
        ),
        None => "the checksum of its superblock is wrong".into(),
    }
}
