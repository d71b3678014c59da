//! A machine that was saved just after its boot, in the cache: loading it takes a second, booting five.
//!
//! ```text
//!  machine/saved/<key>/ram     its memory, sparse: mapped privately by each machine that is loaded from it
//!                     /state   its processors and devices
//!                     /key     what it was made of and with
//! ```
//!
//! It holds nothing of anybody: neither the store nor the host's files are mounted when it is saved. A loaded one
//! gets new random numbers (QEMU's `vmgenid`) and the present time. It appears under its name only when it is whole,
//! and is forgotten when it does not load, or when two newer ones are there.

mod unfinished;

use super::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use unfinished::Unfinished;

/// The place of one saved machine.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    folder: PathBuf,
    /// Everything that must be the same for it to be loaded.
    key: String,
}

impl Saved {
    /// The machine of this key in the cache, saved or not.
    pub(crate) fn of(cache: &Path, key: String) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let folder = cache.join(format!("machine/saved/{:016x}", hasher.finish()));
        Self { folder, key }
    }

    /// Whether it is there.
    pub(crate) fn exists(&self) -> bool {
        std::fs::read_to_string(self.key_file()).is_ok_and(|key| key == self.key)
    }

    /// Its memory.
    pub(crate) fn ram(&self) -> PathBuf {
        self.folder.join("ram")
    }

    /// Its processors and devices.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("key")
    }

    /// The folder of all of them.
    fn all(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// A place to save it in.
    pub(crate) fn begin(&self) -> Result<Unfinished, Error> {
        Unfinished::make(self)
    }

    /// Takes it away.
    pub(crate) fn forget(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::unfinished::tests::save;
    use super::*;

    #[test]
    fn a_machine_is_known_by_what_it_was_made_of_once_it_is_whole() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let one = Saved::of(cache.path(), "one".to_owned());
        let unfinished = one.begin().expect("a place");
        assert!(!one.exists());
        drop(unfinished);
        let one = save(cache.path(), "one");
        assert!(one.exists() && !Saved::of(cache.path(), "two".to_owned()).exists());
        std::fs::write(one.folder.join("key"), "another").expect("written");
        assert!(!one.exists(), "two keys with one name");
        let again = save(cache.path(), "one");
        assert!(again.exists());
        again.forget();
        assert!(!again.exists());
    }
}
