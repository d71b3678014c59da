//! Chunks: where the addresses that everything in Btrfs is named by lie on the disk.
//!
//! Linux, `include/uapi/linux/btrfs_tree.h`, `struct btrfs_chunk`. The chunks that hold the tree of chunks are in the
//! superblock, all of them in that tree. On a single disk a chunk lies there once, or twice.

use std::collections::BTreeMap;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::key::{self, Key, RawKey};

/// The most chunks of a file system: 64 TiB of those of the usual size. It bounds what is kept of them.
const LIMIT: usize = 1 << 16;

/// Ways to lie on several disks, by their bits in a chunk's type.
const PROFILES: &[(u64, &str)] = &[
    (1 << 3, "RAID 0"),
    (1 << 4, "RAID 1"),
    (1 << 6, "RAID 10"),
    (1 << 7, "RAID 5"),
    (1 << 8, "RAID 6"),
    (1 << 9, "RAID 1 with three copies"),
    (1 << 10, "RAID 1 with four copies"),
];

/// Bits of a chunk's type that say what is in it: data, metadata, chunks.
const CONTENTS: u64 = 0x7;

/// The bit of one that lies twice on the disk.
const DUPLICATE: u64 = 1 << 5;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawChunk {
    len: U64,
    _owner: U64,
    _stripe_len: U64,
    kind: U64,
    _io: [U32; 3],
    stripes: U16,
    _sub_stripes: U16,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawStripe {
    device: U64,
    offset: U64,
    _uuid: [u8; 16],
}

const _: () = assert!(size_of::<RawChunk>() == 48 && size_of::<RawStripe>() == 32);

/// A range of addresses.
#[derive(Debug)]
struct Chunk {
    len: u64,
    /// Where it begins on the disk.
    place: u64,
    /// Where its copy does, if it has one.
    copy: Option<u64>,
}

/// All that is known of them, by their first addresses.
#[derive(Debug)]
pub(super) struct Chunks {
    device: u64,
    known: BTreeMap<u64, Chunk>,
}

impl Chunks {
    /// Those in a superblock's `array`, on the disk of this number; or why they cannot be read.
    pub(super) fn parse(array: &[u8], device: u64) -> Result<Chunks, String> {
        let mut chunks = Chunks {
            device,
            known: BTreeMap::new(),
        };
        let mut rest = array;
        while !rest.is_empty() {
            let (key, after) = RawKey::read_from_prefix(rest).map_err(|_| damaged())?;
            let len = chunks.add(key.get(), after)?;
            rest = after.get(len..).unwrap_or_default();
        }
        Ok(chunks)
    }

    /// Adds the one that `bytes` begin with; gives how many of them it has.
    pub(super) fn add(&mut self, key: Key, bytes: &[u8]) -> Result<usize, String> {
        let (raw, stripes) = RawChunk::ref_from_prefix(bytes).map_err(|_| damaged())?;
        let kind = raw.kind.get();
        if let Some((_, name)) = PROFILES.iter().find(|(bit, _)| kind & bit != 0) {
            return Err(format!(
                "a part of it lies as {name}; only what lies on a disk once or twice can be read"
            ));
        }
        if kind & !CONTENTS & !DUPLICATE != 0 {
            return Err(format!(
                "a part of it lies in a way that is not known ({kind:#x})"
            ));
        }
        let count: usize = if kind & DUPLICATE == 0 { 1 } else { 2 };
        let stripe = |nth: usize| {
            let bytes = stripes.get(nth.checked_mul(size_of::<RawStripe>())?..)?;
            let (stripe, _) = RawStripe::ref_from_prefix(bytes).ok()?;
            (stripe.device.get() == self.device).then(|| stripe.offset.get())
        };
        let chunk = Chunk {
            len: raw.len.get(),
            place: stripe(0).ok_or_else(damaged)?,
            copy: match count {
                1 => None,
                _ => Some(stripe(1).ok_or_else(damaged)?),
            },
        };
        let end = key.offset.checked_add(chunk.len);
        let is_sound = key.kind == key::CHUNK
            && usize::from(raw.stripes.get()) == count
            && chunk.len > 0
            && end.is_some_and(|end| self.is_free(key.offset, end));
        if !is_sound {
            return Err(damaged());
        }
        if self.known.len() >= LIMIT {
            return Err(format!("it has more than {LIMIT} chunks"));
        }
        // Those of the superblock are in the tree, too.
        self.known.entry(key.offset).or_insert(chunk);
        Ok(size_of::<RawChunk>().saturating_add(count.saturating_mul(size_of::<RawStripe>())))
    }

    /// Where `len` bytes from `address` on lie, and where a copy of them does; none if they are not in one chunk.
    pub(super) fn places(&self, address: u64, len: usize) -> Option<impl Iterator<Item = u64>> {
        let (first, chunk) = self.known.range(..=address).next_back()?;
        let within = address.checked_sub(*first)?;
        if within.checked_add(len as u64)? > chunk.len {
            return None;
        }
        let places = [Some(chunk.place), chunk.copy];
        Some(
            places
                .into_iter()
                .flatten()
                .map(move |place| place.saturating_add(within)),
        )
    }

    /// Whether no other chunk has any of the addresses from `first` up to `end`.
    fn is_free(&self, first: u64, end: u64) -> bool {
        let before = self.known.range(..first).next_back();
        let within = self.known.range(first..end).next_back();
        before.is_none_or(|(start, chunk)| start.saturating_add(chunk.len) <= first)
            && within.is_none_or(|(start, _)| *start == first)
    }
}

fn damaged() -> String {
    "one of its chunks is damaged".into()
}
