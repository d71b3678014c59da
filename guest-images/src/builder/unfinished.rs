//! A disk in the making: a hidden file beside the images, locked for as long as its build lives.
//!
//! Locks tell the builds of several containers apart, whose process ids repeat.

use super::stage::chmod;
use crate::BuildError;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Removed when this goes, unless it was finished.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: PathBuf,
    /// Holds the lock.
    file: File,
}

impl Unfinished {
    /// An empty file in this folder, which is made if need be; what killed builds left there goes.
    ///
    /// The folder's owner alone enters it: who helps with a build writes a disk by its descriptor,
    /// as what it is for the host (see [`super::ext4::FileSystem::prepare`]), and nobody else may.
    pub(super) fn make(folder: &Path, digest: &str) -> Result<Unfinished, BuildError> {
        fs::create_dir_all(folder).map_err(BuildError::io("make", folder))?;
        chmod(folder, 0o700)?;
        // Until the file is locked it would be taken for another's leftover.
        let _alone = alone(folder)?;
        remove_leftovers(folder);
        let path = folder.join(format!(".{digest}-{}", uuid::Uuid::new_v4().simple()));
        let file = File::create_new(&path).map_err(BuildError::io("make", &path))?;
        let file = lock(file, &path)?;
        Ok(Unfinished { path, file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it the image. If another build of the same was faster, its image stays: somebody may read it.
    pub(super) fn finish(self, image: &Path) -> Result<(), BuildError> {
        self.file.sync_all().map_err(BuildError::io("sync", &self.path))?;
        let _alone = alone(image.parent().unwrap_or(image))?;
        if image.is_file() {
            return Ok(());
        }
        fs::rename(&self.path, image).map_err(BuildError::io("make", image))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Nothing has this name once it is finished.
        let _ = fs::remove_file(&self.path);
    }
}

/// Keeps other builds from what is done in a moment.
fn alone(folder: &Path) -> Result<File, BuildError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(BuildError::io("make", &path))?;
    lock(file, &path)
}

fn lock(file: File, path: &Path) -> Result<File, BuildError> {
    flock(&file, FlockOperation::LockExclusive).map_err(|e| BuildError::io("lock", path)(e.into()))?;
    Ok(file)
}

/// Removes disks that nobody holds, and the scripts beside them.
fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") && !is_held(&path.with_extension("")) {
            let _ = fs::remove_file(path);
        }
    }
}

fn is_held(disk: &Path) -> bool {
    match File::open(disk) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
        Err(e) => e.kind() != std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_image_that_another_build_finished_meanwhile_stays_in_its_place() {
        use std::os::unix::fs::MetadataExt;
        let cache = tempfile::tempdir().unwrap();
        let image = cache.path().join("tiny-0123.raw");
        let [faster, slower] = [(); 2].map(|()| Unfinished::make(cache.path(), "0123").unwrap());
        faster.finish(&image).unwrap();
        let inode = || fs::metadata(&image).unwrap().ino();
        let before = inode();
        slower.finish(&image).unwrap();
        assert_eq!(inode(), before);
        let names = fs::read_dir(cache.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["lock", "tiny-0123.raw"]);
    }

    #[test]
    fn nobody_but_their_owner_reaches_the_disks_that_are_being_built() {
        let cache = tempfile::tempdir().unwrap();
        let images = cache.path().join("kiln/images");
        let mode = || fs::metadata(&images).unwrap().permissions().mode() & 0o7777;
        Unfinished::make(&images, "0123abcd").unwrap();
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&images, fs::Permissions::from_mode(0o755)).unwrap();
        Unfinished::make(&images, "0123abcd").unwrap();
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn what_a_killed_build_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // As a build of this very process id leaves them, which a container repeats.
        let killed = format!(".0123abcd-{}", std::process::id());
        for name in [
            &killed,
            &format!("{killed}.debugfs"),
            ".0123abcd-9.debugfs",
            "tiny-0123abcd.raw",
        ] {
            fs::write(path(name), "").unwrap();
        }
        let other = Unfinished::make(folder.path(), "0123abcd").unwrap();
        let script = other.path().with_extension("debugfs");
        fs::write(&script, "").unwrap();
        let image = path("tiny-4567abcd.raw");
        let own = Unfinished::make(folder.path(), "0123abcd").unwrap();
        own.finish(&image).unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        left.sort();
        let mut kept = [
            path("lock"),
            path("tiny-0123abcd.raw"),
            other.path().into(),
            script,
            image,
        ];
        kept.sort();
        assert_eq!(left, kept);
    }
}
