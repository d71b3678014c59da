//! What the cache keeps of an address: a file that came whole, the beginning of one that has not yet, and by what the
//! server knows each.
//!
//! ```text
//!  downloads/<name>             whole: it was verified, if there was something to verify it by
//!  downloads/<name>.json        its facts
//!  downloads/<name>.part        the beginning of the next one; .part.json: its facts
//!  downloads/<name>.lock        locked by the command that is at it
//! ```

use super::address::Address;
use crate::failure::Failure;
use kiln_control::Code;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use ureq::http::HeaderMap;

/// By what a server knows a version of a file (RFC 9110, 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) etag: Option<String>,
    pub(super) modified: Option<String>,
    /// Its length in bytes.
    pub(super) length: Option<u64>,
}

impl Facts {
    /// What an answer that begins at the file's first byte says.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
        Self {
            etag: text("etag"),
            modified: text("last-modified"),
            length: text("content-length").and_then(|length| length.parse().ok()),
        }
    }

    /// What makes a range be one of this very version: a strong tag, else the time (RFC 9110, 13.1.5).
    pub(super) fn of_range(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.modified.as_deref())
    }

    /// Whether a part of a file is said to be of another version than this: both have a tag, or else a time.
    pub(super) fn differs_from(&self, part: &Facts) -> bool {
        match (&self.etag, &part.etag) {
            (Some(own), Some(other)) => own != other,
            _ => matches!((&self.modified, &part.modified), (Some(own), Some(other)) if own != other),
        }
    }

    /// The headers that ask for another version only.
    pub(super) fn unless_unchanged(&self) -> Vec<(&'static str, String)> {
        let tag = self.etag.clone().map(|tag| ("if-none-match", tag));
        let time = self.modified.clone().map(|time| ("if-modified-since", time));
        tag.or(time).into_iter().collect()
    }
}

/// The place of an address in the cache, locked as long as this value lives.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    name: String,
    _lock: File,
}

impl Place {
    /// Locks it; `waits` is called if another command has it.
    pub(super) fn lock(cache: &Path, address: &Address, waits: impl FnOnce()) -> Result<Self, Failure> {
        let folder = cache.join("downloads");
        let name = address.name_in_cache();
        std::fs::create_dir_all(&folder).map_err(|error| cannot("make", &folder, &error))?;
        let path = folder.join(format!("{name}.lock"));
        let mut options = File::options();
        let lock = options.write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(|error| cannot("make", &path, &error))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            waits();
            while let Err(error) = rustix::fs::flock(&lock, FlockOperation::LockExclusive) {
                if error != rustix::io::Errno::INTR {
                    return Err(cannot("lock", &path, &error.into()));
                }
            }
        }
        Ok(Self {
            folder,
            name,
            _lock: lock,
        })
    }

    /// The folder that all of it lies in.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that came whole.
    pub(super) fn whole(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// The file that came whole, opened, and its facts; none if it is not of the length that it had then.
    pub(super) fn open_whole(&self) -> Option<(File, Facts)> {
        let file = File::open(self.whole()).ok()?;
        let facts = self.facts("json");
        let length = file.metadata().ok()?.len();
        (facts.length == Some(length)).then_some((file, facts))
    }

    fn part(&self) -> PathBuf {
        self.beside("part")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    /// The beginning that is there, perhaps nothing, and its facts.
    pub(super) fn open_part(&self) -> Result<(File, Facts), Failure> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options
            .open(self.part())
            .map_err(|error| cannot("write", &self.part(), &error))?;
        Ok((file, self.facts("part.json")))
    }

    /// Forgets the beginning that was there; the next one is of a version with these facts.
    pub(super) fn begin_part(&self, file: &File, facts: &Facts) -> Result<(), Failure> {
        let failed = |error: std::io::Error| cannot("write", &self.part(), &error);
        file.set_len(0).map_err(failed)?;
        self.write_facts("part.json", facts)
    }

    /// The beginning has become the whole file.
    pub(super) fn complete(&self, length: u64) -> Result<(), Failure> {
        let failed = |error: std::io::Error| cannot("write", &self.whole(), &error);
        let facts = Facts {
            length: Some(length),
            ..self.facts("part.json")
        };
        // A file without its facts is not believed to be whole.
        let _ = std::fs::remove_file(self.beside("json"));
        std::fs::rename(self.part(), self.whole()).map_err(failed)?;
        let _ = std::fs::remove_file(self.beside("part.json"));
        self.write_facts("json", &facts)
    }

    /// Removes all of it.
    pub(super) fn clear(&self) {
        for path in [
            self.whole(),
            self.beside("json"),
            self.part(),
            self.beside("part.json"),
        ] {
            let _ = std::fs::remove_file(path);
        }
    }

    fn facts(&self, ending: &str) -> Facts {
        let text = std::fs::read(self.beside(ending)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write_facts(&self, ending: &str, facts: &Facts) -> Result<(), Failure> {
        let path = self.beside(ending);
        let new = self.beside(&format!("{ending}.new"));
        let text = serde_json::to_vec(facts).map_err(|error| cannot("write", &path, &error.into()))?;
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|error| cannot("write", &path, &error))
    }
}

/// A failure of the cache's own files.
pub(super) fn cannot(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Code::InsufficientVolumeCapacity
        }
        _ => Code::Unavailable,
    };
    Failure::coded(
        code.as_str(),
        format!(
            "cannot {verb} {}: {error} (XDG_CACHE_HOME names another place)",
            path.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_a_version_certain_makes_a_range() {
        let facts = |etag: Option<&str>, modified: Option<&str>| Facts {
            etag: etag.map(str::to_owned),
            modified: modified.map(str::to_owned),
            length: None,
        };
        assert_eq!(facts(Some("\"a\""), Some("today")).of_range(), Some("\"a\""));
        assert_eq!(facts(Some("W/\"a\""), Some("today")).of_range(), Some("today"));
        assert_eq!(facts(Some("W/\"a\""), None).of_range(), None);
        let asked = facts(Some("W/\"a\""), Some("today")).unless_unchanged();
        assert_eq!(asked, [("if-none-match", "W/\"a\"".to_owned())]);
    }
}
