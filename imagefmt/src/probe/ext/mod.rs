//! Files on ext2, ext3 and ext4.
//!
//! Names, inodes and extents are read by the `ext4-view` library. What surrounds it is here:
//! limits on what a hostile superblock may ask for, and the journal, which is applied in memory
//! in all its formats, so that a disk whose guest was stopped by force shows what
//! its guest had committed.

mod inode;
mod journal;
mod journal_block;
mod place;
pub(crate) mod superblock;
mod view;

use ext4_view::{Ext4, Ext4Error, FileType, PathBuf};

use self::journal::{Replay, Unusable};
use self::superblock::Superblock;
use self::view::View;
use super::fault::Fault;
use super::folder_entry::LIST_LIMIT;
use super::path::{self, Step, TARGET_LIMIT};
use super::{FolderEntry, Journal, ProbeError, Window};

/// The files of an ext2, ext3 or ext4 file system, read only.
pub(super) struct ExtTree {
    files: Ext4,
    family: &'static str,
    journal: Journal,
    window: Window,
    superblock: Superblock,
}

impl ExtTree {
    /// Opens the file system in `window`, which begins with `head` and is of this `family`.
    pub(super) fn open(window: &Window, head: &[u8], family: &'static str) -> Result<ExtTree, ProbeError> {
        let superblock = Superblock::parse(head).ok_or_else(|| ProbeError::Damaged {
            kind: family,
            reason: "it has no superblock".into(),
        })?;
        if let Some(reason) = superblock.implausible(window.len()) {
            return Err(ProbeError::Damaged { kind: family, reason });
        }
        let tree = |files, journal| ExtTree {
            files,
            family,
            journal,
            window: window.clone(),
            superblock: superblock.clone(),
        };
        if !superblock.needs_recovery() {
            let files = load(window, &superblock, Replay::default(), family)?;
            return Ok(tree(files, Journal::Clean));
        }
        let ignored = match Replay::read(window, &superblock) {
            Ok(replay) => {
                let (transactions, blocks) = (replay.transactions, replay.blocks.len());
                match load(window, &superblock, replay, family) {
                    Ok(files) if blocks == 0 => return Ok(tree(files, Journal::Clean)),
                    Ok(files) => return Ok(tree(files, Journal::Replayed { transactions, blocks })),
                    Err(error) => format!("with it, {error}"),
                }
            }
            Err(Unusable::Because(reason)) => reason,
            Err(Unusable::Disk(error)) => error.to_string(),
        };
        tracing::warn!("the journal of the {family} file system is not applied: {ignored}");
        let files = load(window, &superblock, Replay::default(), family)?;
        Ok(tree(files, Journal::Ignored { reason: ignored }))
    }

    /// `ext2`, `ext3` or `ext4`.
    pub(super) fn family(&self) -> &'static str {
        self.family
    }

    /// What became of the journal.
    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Its UUID, as `UUID=` on a kernel's command line wants it.
    pub(super) fn uuid(&self) -> String {
        self.files.uuid().to_string()
    }

    /// The bytes of the file at `path`, symbolic links followed; an error if it is longer than
    /// `cap` bytes. The length that an inode claims is checked before anything is allocated.
    pub(super) fn read(&self, path: &str, cap: u64) -> Result<Vec<u8>, ProbeError> {
        let (at, len) = self.file(path)?;
        if len > cap {
            return Err(ProbeError::TooLong {
                path: path.into(),
                len,
                cap,
            });
        }
        self.files.read(&at).map_err(|error| named(path, error))
    }

    /// No more than `len` bytes of the file at `path` from `offset` on.
    pub(super) fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, ProbeError> {
        let named = |error| named(path, error);
        let (at, all) = self.file(path)?;
        let there = usize::try_from(all.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; there.min(len)];
        let mut file = self.files.open(&at).map_err(named)?;
        file.seek_to(offset).map_err(named)?;
        let mut rest = bytes.as_mut_slice();
        while !rest.is_empty() {
            let read = file.read_bytes(rest).map_err(named)?;
            if read == 0 {
                break;
            }
            rest = rest.get_mut(read..).unwrap_or_default();
        }
        Ok(bytes)
    }

    /// Where the bytes of the file at `path` lie; an error where they must not be written in place.
    pub(super) fn pieces(&self, path: &str) -> Result<Vec<(u64, u64)>, ProbeError> {
        let refused = |reason: String| ProbeError::InPlace {
            path: path.into(),
            reason,
        };
        match &self.journal {
            Journal::Clean => {}
            Journal::Replayed { .. } => {
                return Err(refused("the journal was applied in memory only".into()));
            }
            Journal::Ignored { .. } => return Err(refused("the journal is not applied".into())),
        }
        let (at, _) = self.file(path)?;
        place::pieces(&self.window, &self.superblock, at.as_ref()).map_err(|error| match error {
            Fault::Disk(error) => error,
            Fault::Damaged(reason) => refused(reason.into()),
        })
    }

    /// The steps to what `path` leads to, none of them a link.
    fn way(&self, path: &str) -> Result<Vec<(Vec<u8>, PathBuf)>, ProbeError> {
        let named = |error| named(path, error);
        path::follow(path, |folder: Option<&PathBuf>, name| {
            let here = folder.map_or_else(|| PathBuf::new(b"/").join(name), |folder| folder.join(name));
            let found = self.files.symlink_metadata(&here).map_err(named)?;
            if !found.file_type().is_symlink() {
                return Ok(Step::Node(here));
            }
            if found.len() > TARGET_LIMIT {
                return Err(path::link_too_long(path, found.len()));
            }
            let target = self.files.read_link(&here).map_err(named)?;
            Ok(Step::Link(target.as_ref().to_vec()))
        })
    }

    /// The path without links that `path` leads to. Something is there.
    fn follow(&self, path: &str) -> Result<PathBuf, ProbeError> {
        let last = self.way(path)?.pop();
        Ok(last.map_or_else(|| PathBuf::new(b"/"), |(_, at)| at))
    }

    /// The file at `path` without links, and how long its inode says it is.
    fn file(&self, path: &str) -> Result<(PathBuf, u64), ProbeError> {
        let at = self.follow(path)?;
        let metadata = self.files.metadata(&at).map_err(|error| named(path, error))?;
        let file_type = metadata.file_type();
        if !file_type.is_regular_file() {
            return Err(ProbeError::NotAFile {
                path: path.into(),
                what: name(file_type),
            });
        }
        Ok((at, metadata.len()))
    }

    /// Whether there is anything at `path`, symbolic links followed.
    pub(super) fn exists(&self, path: &str) -> Result<bool, ProbeError> {
        path::is_found(self.follow(path))
    }

    /// The path that `path` leads to once symbolic links are followed.
    pub(super) fn resolve(&self, path: &str) -> Result<String, ProbeError> {
        Ok(path::shown(&self.way(path)?))
    }

    /// What is in the folder at `path`, by name; no more than the first 10,000 entries.
    pub(super) fn list(&self, path: &str) -> Result<Vec<FolderEntry>, ProbeError> {
        let at = self.follow(path)?;
        let entries = self.files.read_dir(&at).map_err(|error| named(path, error))?;
        let mut found = Vec::new();
        for entry in entries.take(LIST_LIMIT) {
            let entry = entry.map_err(|error| named(path, error))?;
            let name = String::from_utf8_lossy(entry.file_name().as_ref()).into_owned();
            if name != "." && name != ".." {
                let is_folder = entry.file_type().is_ok_and(FileType::is_dir);
                found.push(FolderEntry { name, is_folder });
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Gives the library the file system as it is with `replay` applied.
fn load(
    window: &Window,
    superblock: &Superblock,
    replay: Replay,
    kind: &'static str,
) -> Result<Ext4, ProbeError> {
    let damaged = || ProbeError::Damaged {
        kind,
        reason: "its superblock is damaged".into(),
    };
    let view = View::new(window.clone(), superblock.block_size(), replay)?.ok_or_else(damaged)?;
    Ext4::load(Box::new(view)).map_err(|error| ProbeError::Damaged {
        kind,
        reason: error.to_string(),
    })
}

fn named(path: &str, error: Ext4Error) -> ProbeError {
    let path = path.to_string();
    match error {
        Ext4Error::NotFound | Ext4Error::NotADirectory => ProbeError::NotFound { path },
        Ext4Error::IsADirectory => ProbeError::NotAFile {
            path,
            what: "a directory",
        },
        Ext4Error::IsASpecialFile => ProbeError::NotAFile {
            path,
            what: "a special file",
        },
        other => ProbeError::Path {
            path,
            reason: other.to_string(),
        },
    }
}

fn name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        FileType::Regular => "a file",
    }
}
