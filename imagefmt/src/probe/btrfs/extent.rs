//! The pieces of a file: where its bytes are.
//!
//! Linux, `include/uapi/linux/btrfs_tree.h`, `struct btrfs_file_extent_item`. A piece is in its item, or is a part of
//! an extent on the disk, which may be packed; what no piece has is zeroes.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::inode::Inode;
use super::key::{self, Key};
use super::packing::{LIMIT, Packing};
use super::tree::{Enough, Root, Source};
use crate::probe::fault::Fault;

/// Kinds of pieces.
const INLINE: u8 = 0;
const REGULAR: u8 = 1;
const SET_ASIDE: u8 = 2;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    _generation: U64,
    /// Bytes of the extent when it is unpacked.
    unpacked_len: U64,
    packing: u8,
    encryption: u8,
    encoding: U16,
    kind: u8,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Tail {
    /// 0 where there is none.
    address: U64,
    disk_len: U64,
    /// Bytes of the extent, unpacked, that come before this piece.
    before: U64,
    len: U64,
}

const _: () = assert!(size_of::<Head>() == 21 && size_of::<Tail>() == 32);

const DAMAGED: Fault = Fault::Damaged("a piece of it is damaged");

/// A piece of a file.
struct Piece<'a> {
    /// How many bytes of the file it is.
    len: u64,
    content: Content<'a>,
}

/// What a piece is.
enum Content<'a> {
    /// A hole, or room that was set aside and not written.
    Zeroes,
    /// In the item.
    Inline(&'a [u8], Option<Packing>),
    /// In an extent at this address, of this length on the disk, behind so many other bytes of it.
    Extent {
        address: u64,
        disk_len: u64,
        before: u64,
        packing: Option<Packing>,
    },
}

impl<'a> Piece<'a> {
    fn parse(item: &'a [u8]) -> Result<Piece<'a>, Fault> {
        let (head, rest) = Head::ref_from_prefix(item).map_err(|_| DAMAGED)?;
        if head.encryption != 0 || head.encoding.get() != 0 {
            return Err(Fault::Damaged("it is encrypted"));
        }
        let packing = Packing::of(head.packing)?;
        let unpacked_len = head.unpacked_len.get();
        if head.kind == INLINE {
            let len = match packing {
                None => rest.len() as u64,
                Some(_) => unpacked_len,
            };
            return match len <= LIMIT {
                true => Ok(Piece {
                    len,
                    content: Content::Inline(rest, packing),
                }),
                false => Err(DAMAGED),
            };
        }
        let (tail, _) = Tail::ref_from_prefix(rest).map_err(|_| DAMAGED)?;
        let (address, disk_len) = (tail.address.get(), tail.disk_len.get());
        let (before, len) = (tail.before.get(), tail.len.get());
        let content = match head.kind {
            SET_ASIDE => Content::Zeroes,
            REGULAR if address == 0 => Content::Zeroes,
            REGULAR => Content::Extent {
                address,
                disk_len,
                before,
                packing,
            },
            _ => return Err(DAMAGED),
        };
        let room = match packing {
            None => disk_len,
            Some(_) => unpacked_len,
        };
        let is_sound = match content {
            Content::Extent { .. } => {
                before.checked_add(len).is_some_and(|end| end <= room)
                    && (packing.is_none() || disk_len.max(unpacked_len) <= LIMIT)
            }
            _ => true,
        };
        match is_sound {
            true => Ok(Piece { len, content }),
            false => Err(DAMAGED),
        }
    }

    /// Fills `to`, which is all zeroes, with what the piece has from its byte `start` on; no more is asked for than
    /// it has.
    fn read(&self, source: &Source, start: u64, to: &mut [u8]) -> Result<(), Fault> {
        let sector = source.superblock.sector_size;
        match &self.content {
            Content::Zeroes => Ok(()),
            Content::Inline(bytes, None) => put(bytes, start, to),
            Content::Inline(bytes, Some(packing)) => {
                let len = end(start, to)?;
                source.count_unpacked(len)?;
                put(&packing.unpack(bytes, sector, len)?, start, to)
            }
            Content::Extent {
                address,
                before,
                packing: None,
                ..
            } => {
                let skipped = before.checked_add(start).ok_or(DAMAGED)?;
                source.read(address.checked_add(skipped).ok_or(DAMAGED)?, to)
            }
            Content::Extent {
                address,
                disk_len,
                before,
                packing: Some(packing),
            } => {
                let start = before.checked_add(start).ok_or(DAMAGED)?;
                let len = end(start, to)?;
                let mut packed = vec![0; usize::try_from(*disk_len).map_err(|_| DAMAGED)?];
                let unpacked = source.read_if(*address, &mut packed, |packed| {
                    source.count_unpacked(len)?;
                    packing.unpack(packed, sector, len)
                })?;
                put(&unpacked, start, to)
            }
        }
    }
}

/// How many bytes there must be for `to` to be filled from byte `start` on.
fn end(start: u64, to: &[u8]) -> Result<usize, Fault> {
    let end = start.checked_add(to.len() as u64);
    end.and_then(|end| usize::try_from(end).ok()).ok_or(DAMAGED)
}

/// Fills `to` with `bytes` from byte `start` on, as far as they go.
fn put(bytes: &[u8], start: u64, to: &mut [u8]) -> Result<(), Fault> {
    let start = usize::try_from(start).map_err(|_| DAMAGED)?;
    let from = bytes.get(start..).unwrap_or_default();
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    Ok(())
}

/// Fills `to`, which is all zeroes, with the content of `inode` from `offset` on.
pub(super) fn read_at(
    source: &Source,
    root: Root,
    inode: &Inode,
    offset: u64,
    to: &mut [u8],
) -> Result<(), Fault> {
    let wanted_end = offset.checked_add(to.len() as u64).ok_or(DAMAGED)?;
    if to.is_empty() {
        return Ok(());
    }
    let first = Key::new(inode.number, key::EXTENT, offset);
    let before = source.at_or_before(root, first)?.map(|item| item.key);
    let before = before.filter(|own| own.is_of(inode.number, key::EXTENT));
    // Pieces do not overlap: nothing is filled twice.
    let mut behind = 0;
    source.each(root, before.unwrap_or(first), |own, item| {
        if !own.is_of(inode.number, key::EXTENT) || own.offset >= wanted_end {
            return Ok(Enough::Yes);
        }
        let piece = Piece::parse(item)?;
        let piece_end = own.offset.checked_add(piece.len).ok_or(DAMAGED)?;
        if own.offset < behind {
            return Err(DAMAGED);
        }
        behind = piece_end;
        let (from, until) = (own.offset.max(offset), piece_end.min(wanted_end));
        let place = |at: u64| usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
        if from < until {
            let to = to.get_mut(place(from)..place(until)).ok_or(DAMAGED)?;
            piece.read(source, from.saturating_sub(own.offset), to)?;
        }
        Ok(Enough::No)
    })
}
