//! Inodes: what a file is, how long it is, and how its blocks are found.
//!
//! "XFS Algorithms & Data Structures", chapter "On-disk Inode". Version 1 and 2 are 100 bytes, version 3 is 176;
//! what follows is the data fork, and after it, if there is any, the fork of extended attributes.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::seal;
use super::superblock::Superblock;
use crate::probe::Window;
use crate::probe::fault::Fault;
use crate::probe::kind::Kind;

/// Its data lie in the realtime section.
const FLAG_REALTIME: u16 = 0x1;
/// Of version 3: counts of extents are wider, and lie elsewhere.
const FLAG2_LARGE_COUNTS: u64 = 0x10;

const CHECKSUM: usize = 100;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Core {
    magic: [u8; 2],
    mode: U16,
    version: u8,
    format: u8,
    _owners: [u8; 18],
    /// Of files with large counts only.
    large_count: U64,
    _times: [U64; 3],
    len: U64,
    _blocks: U64,
    _extent_size: U32,
    count: U32,
    _attribute_count: U16,
    /// Where the other fork begins, in units of 8 bytes from the data fork; 0 if there is none.
    fork_offset: u8,
    _attribute_format: u8,
    _dmapi: [u8; 6],
    flags: U16,
    _generation: U32,
    _next_unlinked: U32,
}

/// What version 3 adds.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct More {
    _checksum: U32,
    _changes: U64,
    _lsn: U64,
    flags: U64,
    _copy_extent_size: U32,
    _pad: [u8; 12],
    _created: U64,
    number: U64,
    uuid: [u8; 16],
}

const _: () = assert!(std::mem::offset_of!(Core, len) == 56);
const _: () = assert!(std::mem::offset_of!(Core, flags) == 90);
const _: () = assert!(size_of::<Core>() == CHECKSUM);
const _: () = assert!(size_of::<Core>() + size_of::<More>() == 176);

/// How its content is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// It is in the fork.
    Local,
    /// So many extents are in the fork.
    Extents(u64),
    /// The root of a tree of extents is.
    Tree,
}

/// An inode.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) kind: Kind,
    /// Length of its content in bytes.
    pub(super) len: u64,
    pub(super) format: Format,
    /// The data fork.
    pub(super) fork: Vec<u8>,
}

impl Inode {
    /// Reads the inode `number`.
    pub(super) fn read(window: &Window, superblock: &Superblock, number: u64) -> Result<Inode, Fault> {
        let offset = superblock
            .inode_offset(number)
            .ok_or(Fault::Damaged("its inode lies beyond the end"))?;
        let mut bytes = vec![0; superblock.inode_size];
        window.read(offset, &mut bytes)?;
        let damaged = || Fault::Damaged("its inode is damaged");
        let (core, rest) = Core::ref_from_prefix(&bytes).map_err(|_| damaged())?;
        if core.magic != *b"IN" || !matches!((superblock.is_v5, core.version), (true, 3) | (false, 1 | 2)) {
            return Err(damaged());
        }
        let (fork, flags) = match superblock.is_v5 {
            false => (rest, 0),
            true => {
                let (more, fork) = More::ref_from_prefix(rest).map_err(|_| damaged())?;
                let is_own = more.number.get() == number && more.uuid == superblock.meta_uuid;
                if !is_own || !seal::is_whole(&bytes, CHECKSUM) {
                    return Err(damaged());
                }
                (fork, more.flags.get())
            }
        };
        let kind = Kind::of(core.mode.get().into()).ok_or_else(damaged)?;
        let end = match core.fork_offset {
            0 => fork.len(),
            units => usize::from(units).saturating_mul(8),
        };
        let fork = fork.get(..end).ok_or_else(damaged)?;
        let count = match flags & FLAG2_LARGE_COUNTS {
            0 => u64::from(core.count.get()),
            _ => core.large_count.get(),
        };
        let format = match (core.format, kind) {
            // A device's number; nothing is read of it.
            (0, Kind::Special(_)) => Format::Local,
            (1, Kind::Folder | Kind::Link) if core.len.get() <= fork.len() as u64 => Format::Local,
            (2, _) if count.saturating_mul(16) <= fork.len() as u64 => Format::Extents(count),
            (3, _) => Format::Tree,
            _ => return Err(damaged()),
        };
        if core.flags.get() & FLAG_REALTIME != 0 && kind == Kind::File {
            return Err(Fault::Damaged(
                "it lies in the realtime section, which is not read",
            ));
        }
        Ok(Inode {
            number,
            kind,
            len: core.len.get(),
            format,
            fork: fork.to_vec(),
        })
    }
}
