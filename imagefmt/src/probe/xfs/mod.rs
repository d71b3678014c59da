//! Files on XFS, version 4 and 5, read only.
//!
//! "XFS Algorithms & Data Structures", 3rd edition (the XFS documentation of kernel.org). A path leads from the
//! root folder's inode through entries of folders to an inode, and that to its extents; neither the headers of
//! allocation groups nor their trees are needed for that. Checksums of version 5 are checked. The log is not
//! replayed: files show as they lie, which is what GRUB sees, too.
//!
//! ```text
//!  superblock ─► inode ─► folder ─► inode ─► extents ─► bytes
//!      log        seal (checksum, owner)     link
//! ```

mod extents;
mod folder;
mod inode;
mod link;
mod log;
mod seal;
pub(super) mod superblock;

use self::folder::Enough;
use self::inode::Inode;
use self::superblock::Superblock;
use super::fault::Fault;
use super::folder_entry::LIST_LIMIT;
use super::kind::Kind;
use super::path::{self, Step, TARGET_LIMIT};
use super::{FolderEntry, Journal, ProbeError, Window};

/// What is read from.
#[derive(Clone, Copy)]
struct Source<'a> {
    window: &'a Window,
    superblock: &'a Superblock,
}

/// The files of an XFS file system.
pub(super) struct XfsTree {
    window: Window,
    superblock: Superblock,
    journal: Journal,
}

impl XfsTree {
    /// Opens the file system in `window`, whose first bytes are `head`.
    pub(super) fn open(window: &Window, head: &[u8]) -> Result<XfsTree, ProbeError> {
        let damaged = |reason| ProbeError::Damaged { kind: "XFS", reason };
        let superblock = Superblock::parse(head, window).map_err(damaged)?;
        let ignored = match superblock.log {
            _ if superblock.needs_repair => Some("it is marked as in need of xfs_repair"),
            None => Some("its log lies on another disk"),
            Some((start, len)) => match log::is_clean(window, start, len) {
                Ok(true) => None,
                Ok(false) => Some("the log of XFS is not replayed; files show as they lie on the disk"),
                Err(_) => Some("its log cannot be read"),
            },
        };
        let journal = ignored.map_or(Journal::Clean, |reason| Journal::Ignored {
            reason: reason.into(),
        });
        let tree = XfsTree {
            window: window.clone(),
            superblock,
            journal,
        };
        match tree.inode(tree.superblock.root) {
            Ok(root) if root.kind == Kind::Folder => Ok(tree),
            Err(Fault::Disk(error)) => Err(error),
            Ok(_) | Err(Fault::Damaged(_)) => Err(damaged("its root folder is damaged".into())),
        }
    }

    /// What became of the log.
    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Its UUID, as `UUID=` on a kernel's command line wants it.
    pub(super) fn uuid(&self) -> String {
        self.superblock.uuid.to_string()
    }

    /// The length of the file at `path`.
    pub(super) fn len(&self, path: &str) -> Result<u64, ProbeError> {
        Ok(self.file(path)?.len)
    }

    /// No more than `len` bytes of the file at `path` from `offset` on.
    pub(super) fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, ProbeError> {
        let file = self.file(path)?;
        let there = usize::try_from(file.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; there.min(len)];
        read_at(self.source(), &file, offset, &mut bytes).map_err(|fault| fault.of(path))?;
        Ok(bytes)
    }

    /// Whether there is anything at `path`, symbolic links followed.
    pub(super) fn exists(&self, path: &str) -> Result<bool, ProbeError> {
        path::is_found(self.way(path))
    }

    /// The path that `path` leads to once symbolic links are followed.
    pub(super) fn resolve(&self, path: &str) -> Result<String, ProbeError> {
        Ok(path::shown(&self.way(path)?))
    }

    /// What is in the folder at `path`, by name; no more than the first 10,000 entries.
    pub(super) fn list(&self, path: &str) -> Result<Vec<FolderEntry>, ProbeError> {
        let inode = self.find(path)?;
        if inode.kind != Kind::Folder {
            return Err(ProbeError::NotFound { path: path.into() });
        }
        let mut found: Vec<(Vec<u8>, u64, Option<bool>)> = Vec::new();
        folder::each(self.source(), &inode, |entry| {
            found.push((entry.name.to_vec(), entry.inode, entry.is_folder));
            match found.len() < LIST_LIMIT {
                true => Enough::No,
                false => Enough::Yes,
            }
        })
        .map_err(|fault| fault.of(path))?;
        let mut listed: Vec<FolderEntry> = found
            .into_iter()
            .map(|(name, number, is_folder)| FolderEntry {
                name: String::from_utf8_lossy(&name).into_owned(),
                is_folder: is_folder
                    .unwrap_or_else(|| self.inode(number).is_ok_and(|inode| inode.kind == Kind::Folder)),
            })
            .collect();
        listed.sort();
        Ok(listed)
    }

    fn source(&self) -> Source<'_> {
        Source {
            window: &self.window,
            superblock: &self.superblock,
        }
    }

    fn inode(&self, number: u64) -> Result<Inode, Fault> {
        Inode::read(&self.window, &self.superblock, number)
    }

    /// The steps to what `path` leads to, none of them a link.
    fn way(&self, path: &str) -> Result<Vec<(Vec<u8>, Inode)>, ProbeError> {
        path::follow(path, |folder: Option<&Inode>, name| {
            let root;
            let folder = match folder {
                Some(folder) => folder,
                None => {
                    root = self.inode(self.superblock.root).map_err(|fault| fault.of(path))?;
                    &root
                }
            };
            let found = match folder.kind {
                Kind::Folder => self.look_up(folder, name).map_err(|fault| fault.of(path))?,
                _ => None,
            };
            let inode = found.ok_or_else(|| ProbeError::NotFound { path: path.into() })?;
            if inode.kind != Kind::Link {
                return Ok(Step::Node(inode));
            }
            if inode.len > TARGET_LIMIT {
                return Err(path::link_too_long(path, inode.len));
            }
            let target = link::target(self.source(), &inode).map_err(|fault| fault.of(path))?;
            Ok(Step::Link(target))
        })
    }

    /// The inode that `name` leads to in `folder`.
    fn look_up(&self, folder: &Inode, name: &[u8]) -> Result<Option<Inode>, Fault> {
        let mut found = None;
        let is_same = |own: &[u8]| match self.superblock.is_case_blind {
            true => own.eq_ignore_ascii_case(name),
            false => own == name,
        };
        folder::each(self.source(), folder, |entry| {
            if !is_same(entry.name) {
                return Enough::No;
            }
            found = Some(entry.inode);
            Enough::Yes
        })?;
        found.map(|number| self.inode(number)).transpose()
    }

    /// What `path` leads to.
    fn find(&self, path: &str) -> Result<Inode, ProbeError> {
        match self.way(path)?.pop() {
            Some((_, inode)) => Ok(inode),
            None => self.inode(self.superblock.root).map_err(|fault| fault.of(path)),
        }
    }

    /// The file that `path` leads to.
    fn file(&self, path: &str) -> Result<Inode, ProbeError> {
        let inode = self.find(path)?;
        match inode.kind.other_than_file() {
            None => Ok(inode),
            Some(what) => Err(ProbeError::NotAFile {
                path: path.into(),
                what,
            }),
        }
    }
}

/// Fills `to` with the content of `inode` from `offset` on; what is not there is zeroes.
fn read_at(source: Source<'_>, inode: &Inode, offset: u64, to: &mut [u8]) -> Result<(), Fault> {
    let superblock = source.superblock;
    let (mut at, mut rest) = (offset, to);
    while !rest.is_empty() {
        let block = at >> superblock.block_log;
        let run = extents::run(source, inode, block)?;
        let within = at.saturating_sub(block.saturating_mul(superblock.block_size));
        let there = run
            .count
            .saturating_mul(superblock.block_size)
            .saturating_sub(within);
        let len = usize::try_from(there).map_or(rest.len(), |there| there.min(rest.len()));
        let (piece, after) = rest.split_at_mut(len);
        match run.place {
            Some(place) => source.window.read(place.saturating_add(within), piece)?,
            None => piece.fill(0),
        }
        at = at.saturating_add(len as u64);
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
