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

use super::Error;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How many are kept: one for each of two settings.
const KEPT: usize = 2;

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
        std::fs::read_to_string(self.folder.join("key")).is_ok_and(|key| key == self.key)
    }

    /// Its memory.
    pub(crate) fn ram(&self) -> PathBuf {
        self.folder.join("ram")
    }

    /// Its processors and devices.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// A place to save it in.
    pub(crate) fn begin(&self) -> Result<Unfinished, Error> {
        let name = format!("new-{}", std::process::id());
        let folder = self.folder.with_file_name(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, &e))?;
        let key = self.key.clone();
        Ok(Unfinished {
            place: Saved { folder, key },
        })
    }

    /// Takes it away.
    pub(crate) fn forget(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One that is being saved. Dropped before it is whole, it is gone.
#[derive(Debug)]
pub(crate) struct Unfinished {
    place: Saved,
}

impl Unfinished {
    /// Where its files go.
    pub(crate) fn place(&self) -> &Saved {
        &self.place
    }

    /// Puts it in its place, and forgets the oldest of many.
    pub(crate) fn complete(self, saved: &Saved) -> Result<(), Error> {
        let place = &self.place;
        let writing = |e: std::io::Error| Error::io("write", &place.folder, &e);
        // After a power cut there is all of it or nothing: the key, by which it is known, comes last.
        for file in [place.ram(), place.state()] {
            File::open(file)
                .and_then(|file| file.sync_all())
                .map_err(writing)?;
        }
        std::fs::write(place.folder.join("key"), &place.key).map_err(writing)?;
        saved.forget();
        std::fs::rename(&place.folder, &saved.folder).map_err(writing)?;
        tidy(saved.folder.parent().unwrap_or(Path::new("/")));
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.place.forget();
    }
}

/// Leaves the newest ones. A running machine keeps what it has mapped.
fn tidy(folder: &Path) {
    let mut all: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    all.sort();
    for (_, old) in all.iter().rev().skip(KEPT) {
        let _ = std::fs::remove_dir_all(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(cache: &Path, key: &str) -> Saved {
        let saved = Saved::of(cache, key.to_owned());
        let new = saved.begin().expect("a place");
        for file in [new.place().ram(), new.place().state()] {
            std::fs::write(file, key).expect("written");
        }
        new.complete(&saved).expect("it is whole");
        saved
    }

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
    fn the_newest_are_kept() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let mut age = 9;
        let all = ["one", "two", "three"].map(|key| {
            let saved = save(cache.path(), key);
            age -= 1;
            let then = SystemTime::now() - std::time::Duration::from_secs(age);
            let folder = File::open(&saved.folder).expect("a folder");
            folder.set_modified(then).expect("its time is set");
            saved
        });
        assert_eq!(all.each_ref().map(Saved::exists), [false, true, true]);
        assert_eq!(
            std::fs::read_dir(cache.path().join("machine/saved"))
                .expect("a folder")
                .count(),
            KEPT
        );
    }
}
