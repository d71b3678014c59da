//! Files on FAT12, FAT16 and FAT32, read only.
//!
//! EFI system partitions and boot partitions are FAT. What is read is bounded by what a sound file
//! system can hold: a folder has 65,536 entries at most, a file's clusters are counted.

pub(crate) mod boot_sector;
mod chain;
mod folder;

use self::boot_sector::{BootSector, Root};
use self::chain::{Run, Table, Whole};
use self::folder::Entry;
use super::{FolderEntry, ProbeError, Window};

/// The longest folder, in bytes: 65,536 entries.
const FOLDER_LIMIT: u64 = 2 << 20;

/// The most steps on the way to one file.
const STEP_LIMIT: usize = 64;

/// The files of a FAT file system.
pub(crate) struct FatTree {
    window: Window,
    sector: BootSector,
}

/// What a path leads to.
enum Place {
    Root,
    Entry(Entry),
}

impl FatTree {
    /// Opens the file system in `window`, whose first bytes are `head`.
    pub(crate) fn open(window: &Window, head: &[u8]) -> Result<FatTree, ProbeError> {
        let sector = BootSector::parse(head).ok_or(ProbeError::Damaged {
            kind: "FAT",
            reason: "its first sector makes no sense".into(),
        })?;
        Ok(FatTree {
            window: window.clone(),
            sector,
        })
    }

    /// `FAT12`, `FAT16` or `FAT32`.
    pub(crate) fn family(&self) -> &'static str {
        self.sector.family()
    }

    /// Its serial number, or nothing.
    pub(crate) fn uuid(&self) -> String {
        self.sector.uuid().unwrap_or_default()
    }

    /// The length of the file at `path`, and its bytes from `offset` on, no more than `len`.
    pub(crate) fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, ProbeError> {
        let entry = self.file(path)?;
        let wanted = entry.len.saturating_sub(offset).min(len as u64);
        let end = offset.saturating_add(wanted);
        let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(0)];
        let mut rest = bytes.as_mut_slice();
        let mut skip = offset;
        for run in self.runs(path, &entry, end)? {
            if skip >= run.len {
                skip = skip.saturating_sub(run.len);
                continue;
            }
            let left = run.len.saturating_sub(skip);
            let (piece, after) =
                rest.split_at_mut(usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len())));
            self.window.read(run.offset.saturating_add(skip), piece)?;
            skip = 0;
            rest = after;
        }
        Ok(bytes)
    }

    /// The length of the file at `path`.
    pub(crate) fn len(&self, path: &str) -> Result<u64, ProbeError> {
        Ok(self.file(path)?.len)
    }

    /// Where the file's bytes lie in the window.
    pub(crate) fn pieces(&self, path: &str) -> Result<Vec<(u64, u64)>, ProbeError> {
        let entry = self.file(path)?;
        let runs = self.runs(path, &entry, entry.len)?;
        Ok(runs.into_iter().map(|run| (run.offset, run.len)).collect())
    }

    /// Whether there is anything at `path`.
    pub(crate) fn exists(&self, path: &str) -> Result<bool, ProbeError> {
        match self.find(path) {
            Ok(_) => Ok(true),
            Err(ProbeError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is in the folder at `path`.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<FolderEntry>, ProbeError> {
        let entries = match self.find(path)? {
            Place::Root => self.root()?,
            Place::Entry(entry) if entry.is_folder => self.folder(&entry)?,
            Place::Entry(_) => return Err(ProbeError::NotFound { path: path.into() }),
        };
        let mut found: Vec<FolderEntry> = entries
            .into_iter()
            .map(|entry| FolderEntry {
                name: entry.name,
                is_folder: entry.is_folder,
            })
            .collect();
        found.sort();
        Ok(found)
    }

    fn file(&self, path: &str) -> Result<Entry, ProbeError> {
        match self.find(path)? {
            Place::Entry(entry) if !entry.is_folder => Ok(entry),
            _ => Err(ProbeError::NotAFile {
                path: path.into(),
                what: "a directory",
            }),
        }
    }

    fn find(&self, path: &str) -> Result<Place, ProbeError> {
        let not_found = || ProbeError::NotFound { path: path.into() };
        let mut steps: Vec<&str> = Vec::new();
        for step in path.split('/') {
            match step {
                "" | "." => {}
                ".." => drop(steps.pop()),
                step => steps.push(step),
            }
        }
        if steps.len() > STEP_LIMIT {
            return Err(not_found());
        }
        let mut place = Place::Root;
        for step in steps {
            let entries = match &place {
                Place::Root => self.root()?,
                Place::Entry(entry) if entry.is_folder => self.folder(entry)?,
                Place::Entry(_) => return Err(not_found()),
            };
            let entry = entries.into_iter().find(|entry| entry.is_called(step));
            place = Place::Entry(entry.ok_or_else(not_found)?);
        }
        Ok(place)
    }

    fn root(&self) -> Result<Vec<Entry>, ProbeError> {
        match self.sector.root {
            Root::Fixed(offset, len) => {
                let len = usize::try_from(len).unwrap_or(0);
                Ok(folder::entries(&self.window.read_up_to(offset, len)?))
            }
            Root::Cluster(cluster) => self.entries(cluster),
        }
    }

    fn folder(&self, entry: &Entry) -> Result<Vec<Entry>, ProbeError> {
        self.entries(entry.cluster)
    }

    fn entries(&self, cluster: u32) -> Result<Vec<Entry>, ProbeError> {
        let mut table = Table::new(&self.window, &self.sector);
        let runs = table
            .runs(cluster, FOLDER_LIMIT, Whole::No)
            .map_err(|fault| fault.of_all("FAT"))?;
        let mut bytes = Vec::new();
        for run in runs {
            let len = usize::try_from(run.len).unwrap_or(0);
            bytes.extend(self.window.read_up_to(run.offset, len)?);
        }
        Ok(folder::entries(&bytes))
    }

    fn runs(&self, path: &str, entry: &Entry, end: u64) -> Result<Vec<Run>, ProbeError> {
        let mut table = Table::new(&self.window, &self.sector);
        table
            .runs(entry.cluster, end, Whole::Yes)
            .map_err(|fault| fault.of(path))
    }
}

#[cfg(test)]
mod tests;
