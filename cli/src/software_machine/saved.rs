//! A machine that was saved just after its boot, in the cache: loading it takes a second, booting five.
//!
//! ```text
//!  machine/saved/<key>/ram     its memory, sparse: mapped privately by each machine that is loaded from it
//!                     /state   its processors and devices
//!                     /rate    how fast the counter counted by which it keeps its time
//!                     /key     what it was made of and with
//! ```
//!
//! It holds nothing of anybody: neither the store nor the host's files are mounted when it is saved. A loaded one
//! gets new random numbers (QEMU's `vmgenid`) and the present time. It appears under its name only when it is whole,
//! and is forgotten when it does not load, or when two newer ones are there.

mod unfinished;

use super::{Error, counter};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use unfinished::Unfinished;

/// The place of one saved machine.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    folder: PathBuf,
    /// Everything that must be the same for it to be loaded.
    key: String,
    /// How fast this host's counter counts, which must be near to what it was then.
    rate: Option<f64>,
}

impl Saved {
    /// The machine of this key in the cache, saved or not.
    pub(crate) fn of(cache: &Path, key: String) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let folder = cache.join(format!("machine/saved/{:016x}", hasher.finish()));
        let rate = counter::rate();
        Self { folder, key, rate }
    }

    /// Whether it is there, and would keep the right time here.
    pub(crate) fn exists(&self) -> bool {
        let there = std::fs::read_to_string(self.rate_file());
        let there = there.ok().and_then(|rate| rate.parse().ok());
        std::fs::read_to_string(self.key_file()).is_ok_and(|key| key == self.key)
            && counter::is_same(there, self.rate)
    }

    /// Its memory.
    pub(crate) fn ram(&self) -> PathBuf {
        self.folder.join("ram")
    }

    /// Its processors and devices.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn rate_file(&self) -> PathBuf {
        self.folder.join("rate")
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
    use super::unfinished::tests::{begun, save};
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

    #[test]
    fn a_machine_that_was_saved_where_time_is_counted_faster_or_slower_is_made_anew() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let here = save(cache.path(), "one");
        let rate = here.rate.expect("this kernel tells");
        let on = |rate| Saved { rate, ..here.clone() };
        assert!(on(Some(rate * 1.0005)).exists(), "measured again");
        for there in [Some(rate * 0.9), Some(rate * 1.1), None] {
            let there = on(there);
            assert!(!there.exists(), "{there:?}");
            begun(&there).complete(&there).expect("it is whole");
            assert!(there.exists() && !here.exists(), "{there:?}");
        }
    }
}
