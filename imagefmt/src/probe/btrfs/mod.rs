//! Files on Btrfs, on a single disk, read only.
//!
//! Linux, `include/uapi/linux/btrfs_tree.h`, and btrfs-progs, `Documentation/dev/On-disk-format.rst`.
//! The superblock leads to the tree of chunks, which says where addresses lie on the disk, and to the tree of trees, in
//! which the subvolumes are. A path leads through entries of folders to an inode, and that to its pieces. Checksums of
//! metadata are checked, and of what lies on the disk twice the copy that is whole is taken; those of data are not
//! checked, as in GRUB. The log is not replayed: files show as of the last commit.
//!
//! ```text
//!  superblock ─► chunk ─► tree (node, key, checksum) ─► subvolume ─► folder ─► inode ─► extent ─► bytes
//!     feature                                                                       packing, lzo
//! ```
//!
//! A path is looked for from the topmost subvolume, as by GRUB; what is not there, from the root of the system, which
//! in most installations is a subvolume itself ([`subvolume::roots`]). So `/@/boot/vmlinuz` of a menu is found as well
//! as `/etc/os-release` of the system in `@`.

mod checksum;
mod chunk;
mod extent;
mod feature;
mod folder;
mod inode;
mod key;
mod lzo;
mod node;
mod packing;
mod subvolume;
pub(super) mod superblock;
mod tree;

use self::chunk::Chunks;
use self::folder::Target;
use self::inode::Inode;
use self::key::Key;
use self::subvolume::Subvolume;
use self::superblock::Superblock;
use self::tree::{Enough, Source};
use super::fault::Fault;
use super::folder_entry::LIST_LIMIT;
use super::kind::Kind;
use super::path::{self, Step, TARGET_LIMIT};
use super::{FolderEntry, Journal, ProbeError, Window};

fn damaged(reason: String) -> ProbeError {
    ProbeError::Damaged {
        kind: "Btrfs",
        reason,
    }
}

/// Where a path has come to.
#[derive(Debug, Clone, Copy)]
struct Place {
    subvolume: Subvolume,
    inode: Inode,
    /// How many folders of the subvolume are above it.
    depth: usize,
}

/// Steps of a path: names, and what they lead to.
type Steps = Vec<(Vec<u8>, Place)>;

/// The files of a Btrfs file system.
pub(super) struct BtrfsTree {
    source: Source,
    /// Where paths begin, in the order in which they are tried.
    roots: Vec<Subvolume>,
    journal: Journal,
}

impl BtrfsTree {
    /// Opens the file system in `window`, whose first bytes are `head`.
    pub(super) fn open(window: &Window, head: &[u8]) -> Result<BtrfsTree, ProbeError> {
        let superblock = Superblock::parse(head, window).map_err(damaged)?;
        let journal = match superblock.has_log {
            true => Journal::Ignored {
                reason: "the log of Btrfs is not replayed; files show as of the last commit".into(),
            },
            false => Journal::Clean,
        };
        let chunks = Chunks::parse(&superblock.chunks, superblock.device).map_err(damaged)?;
        let mut source = Source::new(window.clone(), superblock, chunks);
        source.chunks = all_chunks(&source)?;
        let roots = subvolume::roots(&source).map_err(|fault| fault.of_all("Btrfs"))?;
        Ok(BtrfsTree {
            source,
            roots,
            journal,
        })
    }

    /// What became of the log.
    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Its UUID, as `UUID=` on a kernel's command line wants it.
    pub(super) fn uuid(&self) -> String {
        self.source.superblock.uuid.to_string()
    }

    /// The length of the file at `path`.
    pub(super) fn len(&self, path: &str) -> Result<u64, ProbeError> {
        Ok(self.file(path)?.inode.len)
    }

    /// No more than `len` bytes of the file at `path` from `offset` on.
    pub(super) fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, ProbeError> {
        let Place { subvolume, inode, .. } = self.file(path)?;
        let there = usize::try_from(inode.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; there.min(len)];
        extent::read_at(&self.source, subvolume.root, &inode, offset, &mut bytes)
            .map_err(|fault| fault.of(path))?;
        Ok(bytes)
    }

    /// Whether there is anything at `path`, symbolic links followed.
    pub(super) fn exists(&self, path: &str) -> Result<bool, ProbeError> {
        path::is_found(self.way(path))
    }

    /// The path that `path` leads to once symbolic links are followed.
    pub(super) fn resolve(&self, path: &str) -> Result<String, ProbeError> {
        Ok(path::shown(&self.way(path)?.1))
    }

    /// What is in the folder at `path`, by name; no more than the first 10,000 entries.
    pub(super) fn list(&self, path: &str) -> Result<Vec<FolderEntry>, ProbeError> {
        let Place { subvolume, inode, .. } = self.find(path)?;
        if inode.kind != Kind::Folder {
            return Err(ProbeError::NotFound { path: path.into() });
        }
        let mut listed = Vec::new();
        folder::each(&self.source, subvolume.root, inode.number, |name, is_folder| {
            listed.push(FolderEntry {
                name: String::from_utf8_lossy(name).into_owned(),
                is_folder,
            });
            match listed.len() < LIST_LIMIT {
                true => Enough::No,
                false => Enough::Yes,
            }
        })
        .map_err(|fault| fault.of(path))?;
        listed.sort();
        Ok(listed)
    }

    /// The subvolume in which `path` is found, and the steps to what it leads to from there, none of them a link.
    fn way(&self, path: &str) -> Result<(Subvolume, Steps), ProbeError> {
        for root in &self.roots {
            match self.way_from(root, path) {
                Err(ProbeError::NotFound { .. }) => {}
                way => return way.map(|steps| (*root, steps)),
            }
        }
        Err(ProbeError::NotFound { path: path.into() })
    }

    fn way_from(&self, start: &Subvolume, path: &str) -> Result<Steps, ProbeError> {
        let fault = |fault: Fault| fault.of(path);
        path::follow(path, |folder: Option<&Place>, name| {
            let top;
            let folder = match folder {
                Some(folder) => folder,
                None => {
                    top = self.top(start).map_err(fault)?;
                    &top
                }
            };
            let found = match folder.inode.kind {
                Kind::Folder => self.step(folder, name).map_err(fault)?,
                _ => None,
            };
            let place = found.ok_or_else(|| ProbeError::NotFound { path: path.into() })?;
            if place.inode.kind != Kind::Link {
                return Ok(Step::Node(place));
            }
            if place.inode.len > TARGET_LIMIT {
                return Err(path::link_too_long(path, place.inode.len));
            }
            let target = self.target(&place).map_err(fault)?;
            Ok(Step::Link(match target.starts_with(b"/") {
                // It begins at the top of its subvolume, which is the root of a system or seen as one: as many
                // steps up lead there.
                true => [b"./", b"../".repeat(folder.depth).as_slice(), &target].concat(),
                false => target,
            }))
        })
    }

    /// What `name` leads to in a folder.
    fn step(&self, folder: &Place, name: &[u8]) -> Result<Option<Place>, Fault> {
        let Place {
            subvolume,
            inode,
            depth,
        } = *folder;
        match folder::look_up(&self.source, subvolume.root, inode.number, name)? {
            None => Ok(None),
            Some(Target::Inode(number)) => Ok(Some(Place {
                subvolume,
                inode: Inode::read(&self.source, subvolume.root, number)?,
                depth: depth.saturating_add(1),
            })),
            Some(Target::Subvolume(number)) => Subvolume::read(&self.source, number)?
                .map(|subvolume| self.top(&subvolume))
                .transpose(),
        }
    }

    /// The topmost folder of a subvolume.
    fn top(&self, subvolume: &Subvolume) -> Result<Place, Fault> {
        Ok(Place {
            subvolume: *subvolume,
            inode: subvolume.top(&self.source)?,
            depth: 0,
        })
    }

    /// Where a link leads, whose length was checked.
    fn target(&self, link: &Place) -> Result<Vec<u8>, Fault> {
        let len = usize::try_from(link.inode.len).unwrap_or(0);
        let mut target = vec![0; len];
        extent::read_at(&self.source, link.subvolume.root, &link.inode, 0, &mut target)?;
        Ok(target)
    }

    /// What `path` leads to.
    fn find(&self, path: &str) -> Result<Place, ProbeError> {
        let (start, mut steps) = self.way(path)?;
        match steps.pop() {
            Some((_, place)) => Ok(place),
            None => self.top(&start).map_err(|fault| fault.of(path)),
        }
    }

    /// The file that `path` leads to.
    fn file(&self, path: &str) -> Result<Place, ProbeError> {
        let place = self.find(path)?;
        match place.inode.kind.other_than_file() {
            None => Ok(place),
            Some(what) => Err(ProbeError::NotAFile {
                path: path.into(),
                what,
            }),
        }
    }
}

/// All chunks, those in the superblock among them.
fn all_chunks(source: &Source) -> Result<Chunks, ProbeError> {
    let superblock = &source.superblock;
    let mut chunks = Chunks::parse(&superblock.chunks, superblock.device).map_err(damaged)?;
    let mut refused = None;
    source
        .each(superblock.chunk_root, Key::new(0, 0, 0), |own, content| {
            if own.kind != key::CHUNK {
                return Ok(Enough::No);
            }
            refused = chunks.add(own, content).err();
            Ok(match refused {
                Some(_) => Enough::Yes,
                None => Enough::No,
            })
        })
        .map_err(|fault| fault.of_all("Btrfs"))?;
    match refused {
        Some(reason) => Err(damaged(reason)),
        None => Ok(chunks),
    }
}

#[cfg(test)]
mod tests;
