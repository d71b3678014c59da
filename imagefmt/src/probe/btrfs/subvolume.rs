//! Subvolumes: trees of files, each with a topmost folder of its own.
//!
//! Linux, `include/uapi/linux/btrfs_tree.h`, `struct btrfs_root_item`. A snapshot is a subvolume whose tree shares
//! its nodes with another's.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::folder::{self, Target};
use super::inode::Inode;
use super::key::{self, Key};
use super::tree::{Root, Source};
use crate::probe::fault::Fault;
use crate::probe::kind::Kind;

/// The number of the one that is always there, with all others somewhere in it.
const TOP: u64 = 5;

/// The numbers of those that were made later.
const LATER: std::ops::RangeInclusive<u64> = 256..=u64::MAX - 256;

/// Where an installation's root is, seen from the top: names that Ubuntu, SUSE and Arch, Fedora, and Debian's
/// installer give it.
const SYSTEMS: [&str; 3] = ["@", "root", "@rootfs"];

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRoot {
    _inode: [u8; 160],
    generation: U64,
    folder: U64,
    place: U64,
    _bytes: [U64; 2],
    _last_snapshot: U64,
    _flags: U64,
    /// How often it is named; 0 while what is left of it is removed.
    references: U32,
    _progress: [u8; 18],
    level: u8,
}

const _: () = assert!(size_of::<RawRoot>() == 239);

/// A subvolume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subvolume {
    pub(super) number: u64,
    pub(super) root: Root,
    /// The inode of its topmost folder.
    pub(super) folder: u64,
}

impl Subvolume {
    /// The one of this number, if it is there.
    pub(super) fn read(source: &Source, number: u64) -> Result<Option<Subvolume>, Fault> {
        if number != TOP && !LATER.contains(&number) {
            return Ok(None);
        }
        // A snapshot's key has the transaction that made it.
        let last = Key::new(number, key::ROOT, u64::MAX);
        let item = source.at_or_before(source.superblock.root, last)?;
        let Some(item) = item.filter(|item| item.key.is_of(number, key::ROOT)) else {
            return Ok(None);
        };
        let raw = RawRoot::ref_from_prefix(item.content());
        let (raw, _) = raw.map_err(|_| Fault::Damaged("its subvolume is damaged"))?;
        let subvolume = Subvolume {
            number,
            root: Root {
                place: raw.place.get(),
                level: raw.level,
                generation: raw.generation.get(),
            },
            folder: raw.folder.get(),
        };
        Ok((raw.references.get() > 0).then_some(subvolume))
    }

    /// Its topmost folder.
    pub(super) fn top(&self, source: &Source) -> Result<Inode, Fault> {
        let inode = Inode::read(source, self.root, self.folder)?;
        match inode.kind {
            Kind::Folder => Ok(inode),
            _ => Err(Fault::Damaged("its subvolume is damaged")),
        }
    }
}

/// The subvolumes that paths are looked for in, in this order: the top, from which GRUB sees paths, then those that a
/// system may have for its root: the default one, from which SUSE's GRUB sees them, and those that are usual.
pub(super) fn roots(source: &Source) -> Result<Vec<Subvolume>, Fault> {
    let top = Subvolume::read(source, TOP)?.ok_or(Fault::Damaged("it has no topmost folder"))?;
    top.top(source)?;
    let mut roots = vec![top];
    let places = std::iter::once((source.superblock.root, source.superblock.root_folder, "default"))
        .chain(SYSTEMS.map(|name| (top.root, top.folder, name)));
    for (root, folder, name) in places {
        match named(source, root, folder, name) {
            Ok(Some(found)) if !roots.contains(&found) => roots.push(found),
            // What is damaged may never be asked for.
            Ok(_) | Err(Fault::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(roots)
}

/// The subvolume of this name in a folder.
fn named(source: &Source, root: Root, folder: u64, name: &str) -> Result<Option<Subvolume>, Fault> {
    let Some(Target::Subvolume(number)) = folder::look_up(source, root, folder, name.as_bytes())? else {
        return Ok(None);
    };
    let found = Subvolume::read(source, number)?;
    found.map(|found| found.top(source).map(|_| found)).transpose()
}
