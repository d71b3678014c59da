//! A saved machine in the making: a folder beside the whole ones, whose key is locked for as long as its save lives.
//!
//! Homes share the cache, in containers with the same process ids, too: by the lock one that is being saved is told
//! from what a killed save left. A whole one stays in its place.

use super::Saved;
use crate::software_machine::Error;
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirEntry, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How many are kept: one for each of two settings.
const KEPT: usize = 2;
/// How the names of folders begin in which one is being saved.
const UNFINISHED: &str = "new-";

/// One that is being saved. Dropped before it is whole, it is gone.
#[derive(Debug)]
pub(crate) struct Unfinished {
    place: Saved,
    /// Empty, and locked, until it is whole.
    key: File,
}

impl Unfinished {
    /// A place to save this one in. What killed saves left goes.
    pub(super) fn make(saved: &Saved) -> Result<Unfinished, Error> {
        let all = saved.all();
        std::fs::create_dir_all(all).map_err(|e| Error::of_place(all, &e, "XDG_CACHE_HOME"))?;
        // Until its key is locked it would be taken for another's leftover.
        let _alone = alone(all)?;
        remove_leftovers(all);
        let place = Saved {
            folder: all.join(format!("{UNFINISHED}{}", uuid::Uuid::new_v4().simple())),
            ..saved.clone()
        };
        std::fs::create_dir(&place.folder).map_err(|e| Error::io("create", &place.folder, &e))?;
        let key = locked(&place.key_file())?;
        Ok(Unfinished { place, key })
    }

    /// Where its files go.
    pub(crate) fn place(&self) -> &Saved {
        &self.place
    }

    /// Puts it in its place, and forgets the oldest of many. If another home was faster, its one stays: machines may just
    /// be loaded from it.
    pub(crate) fn complete(mut self, saved: &Saved) -> Result<(), Error> {
        let place = &self.place;
        let writing = |e: std::io::Error| Error::io("write", &place.folder, &e);
        // After a power cut there is all of it or nothing: the key, by which it is known, comes last.
        for file in [place.ram(), place.state()] {
            File::open(file)
                .and_then(|file| file.sync_all())
                .map_err(writing)?;
        }
        if let Some(rate) = place.rate {
            std::fs::write(place.rate_file(), rate.to_string()).map_err(writing)?;
        }
        self.key.write_all(place.key.as_bytes()).map_err(writing)?;
        let _alone = alone(saved.all())?;
        if !saved.exists() {
            saved.forget();
            std::fs::rename(&place.folder, &saved.folder).map_err(writing)?;
            tidy(saved.all());
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Nothing has this name once it is in its place.
        self.place.forget();
    }
}

/// Keeps other homes from what is done in a moment.
fn alone(all: &Path) -> Result<File, Error> {
    locked(&all.with_extension("lock"))
}

/// This file, made if need be, and locked by nobody else.
fn locked(path: &Path) -> Result<File, Error> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|e| Error::io("create", path, &e))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|e| Error::io("lock", path, &e.into()))?;
    Ok(file)
}

/// Removes what killed saves left.
fn remove_leftovers(all: &Path) {
    for entry in entries(all).filter(is_unfinished) {
        if !is_held(&entry.path().join("key")) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn is_held(key: &Path) -> bool {
    match File::options().append(true).open(key) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockExclusive).is_err(),
        Err(e) => e.kind() != ErrorKind::NotFound,
    }
}

/// Leaves the newest ones, and those that are being saved. A running machine keeps what it has mapped.
fn tidy(all: &Path) {
    let mut whole: Vec<(SystemTime, PathBuf)> = entries(all)
        .filter(|entry| !is_unfinished(entry))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    whole.sort();
    for (_, old) in whole.iter().rev().skip(KEPT) {
        let _ = std::fs::remove_dir_all(old);
    }
}

fn entries(all: &Path) -> impl Iterator<Item = DirEntry> {
    std::fs::read_dir(all).into_iter().flatten().flatten()
}

fn is_unfinished(entry: &DirEntry) -> bool {
    entry
        .file_name()
        .as_encoded_bytes()
        .starts_with(UNFINISHED.as_bytes())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// One of this key, whole but for its key.
    pub(in super::super) fn begun(saved: &Saved) -> Unfinished {
        let new = saved.begin().expect("a place");
        for file in [new.place().ram(), new.place().state()] {
            std::fs::write(file, &saved.key).expect("written");
        }
        new
    }

    /// A whole one of this key.
    pub(in super::super) fn save(cache: &Path, key: &str) -> Saved {
        let saved = Saved::of(cache, key.to_owned());
        begun(&saved).complete(&saved).expect("it is whole");
        saved
    }

    fn count(cache: &Path) -> usize {
        entries(&cache.join("machine/saved")).count()
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
        assert_eq!(count(cache.path()), KEPT);
    }

    #[test]
    fn homes_that_save_one_machine_at_the_same_time_do_not_disturb_each_other() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let one = Saved::of(cache.path(), "one".to_owned());
        let [faster, slower] = [(); 2].map(|()| begun(&one));
        faster.complete(&one).expect("it is whole");
        let inode = || std::fs::metadata(one.ram()).expect("its memory").ino();
        let before = inode();
        slower.complete(&one).expect("the other is there");
        save(cache.path(), "one");
        assert_eq!(inode(), before, "a machine may just be loaded from it");
        assert_eq!(count(cache.path()), 1);
    }

    #[test]
    fn what_a_killed_save_left_goes_and_is_none_of_those_that_are_kept() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let one = save(cache.path(), "one");
        // As a save of this very process id leaves it, which a container repeats; killed before and after its key.
        let left = [format!("new-{}", std::process::id()), "new-1".to_owned()].map(|name| {
            let folder = one.folder.with_file_name(name);
            std::fs::create_dir(&folder).expect("a folder");
            folder
        });
        std::fs::write(left[1].join("key"), "").expect("written");
        let living = begun(&Saved::of(cache.path(), "three".to_owned()));
        let two = save(cache.path(), "two");
        assert!(one.exists() && two.exists());
        assert!(left.iter().all(|folder| !folder.exists()), "{left:?}");
        assert!(living.place().ram().exists(), "it is still being saved");
    }
}
