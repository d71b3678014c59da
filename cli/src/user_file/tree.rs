//! Files and folders that the user names, to be copied as a whole.

use super::UserFile;
use crate::failure::Failure;
use kiln_agent::tree::{self, Moved, PackError, UnpackError};
use rustix::fs::FileType;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const NO_STREAM: &str = "files are not streamed: name a file or folder (one that is called - is ./-)";

/// The name that a path ends in; none if it is a folder by what it says (`/`, `..`, `a/.`), whose content is meant then.
pub(crate) fn last_name(path: &Path) -> Option<&OsStr> {
    let bytes = path.as_os_str().as_bytes();
    let names_itself = bytes.ends_with(b"/.") || bytes.ends_with(b"/./") || bytes == b".";
    path.file_name().filter(|_| !names_itself)
}

impl UserFile {
    /// The file or folder, to be packed: it must be there.
    pub(crate) fn source(&self) -> Result<Source<'_>, Failure> {
        self.must_have_a_name(NO_STREAM)?;
        let place = self.followed();
        let is = std::fs::metadata(&place).map_err(|error| self.cannot("open", error))?;
        if !is.is_dir() {
            self.must_be_of_kind(FileType::from_raw_mode(is.mode()))?;
        }
        Ok(Source {
            of: self,
            place,
            is_folder: is.is_dir(),
        })
    }

    /// A new file or folder, to be unpacked: of this name, or called `name` in the folder that has it.
    pub(crate) fn destination(&self, name: Option<&OsStr>) -> Result<NewTree, Failure> {
        self.must_have_a_name(NO_STREAM)?;
        let followed = self.followed();
        let is_folder = followed.is_dir();
        let place = match name {
            Some(name) if is_folder => followed.join(name),
            _ if !is_folder && self.typed.as_os_str().as_bytes().ends_with(b"/") => {
                let message = format!("there is no folder {}", self.name());
                return Err(Failure::coded("InvalidParameterValue", message));
            }
            // If it is a link, what that leads to; one that leads nowhere is replaced.
            _ => std::fs::canonicalize(followed).unwrap_or_else(|_| self.place.clone()),
        };
        if let Ok(is) = std::fs::symlink_metadata(&place)
            && !is.is_dir()
            && !is.is_symlink()
        {
            self.must_be_of_kind(FileType::from_raw_mode(is.mode()))?;
        }
        let mut hidden = OsString::from(".");
        hidden.push(place.file_name().unwrap_or_default());
        hidden.push(format!(".{}", uuid::Uuid::new_v4().simple()));
        let made = place.with_file_name(hidden);
        let folder = made.parent().filter(|folder| !folder.as_os_str().is_empty());
        if !folder.unwrap_or(Path::new(".")).is_dir() {
            return Err(self.cannot("create", std::io::ErrorKind::NotFound.into()));
        }
        let shown = match name.filter(|_| is_folder) {
            Some(name) => self.typed.join(name),
            None => self.typed.clone(),
        };
        Ok(NewTree { shown, made, place })
    }
}

/// A file or folder that is to be copied.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    of: &'a UserFile,
    place: PathBuf,
    pub(crate) is_folder: bool,
}

impl Source<'_> {
    /// What it is called, where it is not its content that is meant.
    pub(crate) fn last_name(&self) -> Option<&OsStr> {
        last_name(&self.of.typed)
    }

    /// Bytes of its files.
    pub(crate) fn bytes(&self) -> Result<u64, Failure> {
        tree::measure(&self.place).map_err(|error| self.failed(&error))
    }

    /// Writes it as a tar stream, under that name, or without one what is in it; none if whoever reads the stream has ended.
    pub(crate) fn pack(
        &self,
        name: Option<&OsStr>,
        out: impl Write,
        told: impl FnMut(u64),
    ) -> Result<Option<Moved>, Failure> {
        match tree::pack(&self.place, name, out, told) {
            Ok(mut moved) => {
                for path in &mut moved.left_out {
                    *path = PathBuf::from(self.of.as_typed_at(&self.place, &path.display().to_string()));
                }
                Ok(Some(moved))
            }
            Err(PackError::Write(_)) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &PackError) -> Failure {
        let message = self.of.as_typed_at(&self.place, &error.to_string());
        Failure::coded("InvalidParameterValue", message)
    }
}

/// A file or folder that is being made under a name of its own, beside the place that it will take. Dropped before it is
/// complete, it is gone, and what was in that place stays.
#[derive(Debug)]
pub(crate) struct NewTree {
    /// Its name as the user knows it.
    shown: PathBuf,
    made: PathBuf,
    place: PathBuf,
}

impl NewTree {
    /// Makes it of a guest's tar stream.
    pub(crate) fn unpack(&self, stream: impl Read, told: impl FnMut(u64)) -> Result<Moved, UnpackError> {
        tree::unpack(stream, &self.made, told)
    }

    /// What went wrong with that.
    pub(crate) fn failed(&self, error: &UnpackError) -> Failure {
        let message = error.to_string();
        match self.made.to_str() {
            Some(made) => Failure::new(message.replace(made, &self.shown.display().to_string())),
            None => Failure::new(message),
        }
    }

    /// Puts it in its place, over a file or into a folder that is there.
    pub(crate) fn complete(self) -> Result<(), Failure> {
        tree::settle(&self.made, &self.place).map_err(|(at, error)| {
            let below = at.strip_prefix(&self.place).unwrap_or(Path::new(""));
            let at = match below.as_os_str().is_empty() {
                true => self.shown.clone(),
                false => self.shown.join(below),
            };
            Failure::coded(
                "InvalidParameterValue",
                format!("cannot write {}: {error}", at.display()),
            )
        })
    }
}

impl Drop for NewTree {
    fn drop(&mut self) {
        // After `complete` there is nothing under this name any more.
        if std::fs::symlink_metadata(&self.made).is_ok_and(|is| is.is_dir()) {
            let _ = std::fs::remove_dir_all(&self.made);
        } else {
            let _ = std::fs::remove_file(&self.made);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &Path) -> UserFile {
        UserFile::from(path.as_os_str().to_owned())
    }

    #[test]
    fn a_folder_that_is_named_by_a_dot_is_its_content() {
        for (path, name) in [
            ("a/b", Some("b")),
            ("/b/", Some("b")),
            ("b", Some("b")),
            ("b/.", None),
            ("b/./", None),
            ("..", None),
            (".", None),
            ("/", None),
        ] {
            assert_eq!(last_name(Path::new(path)), name.map(OsStr::new), "{path}");
        }
    }

    #[test]
    fn a_copy_goes_into_a_folder_that_is_there_and_else_has_the_name_that_was_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let there = folder.path().join("there");
        std::fs::create_dir(&there).expect("a folder");
        let file = named(&folder.path().join("file"));
        let name = Some(OsStr::new("x"));
        for (to, name, place) in [
            (named(&there), name, there.join("x")),
            (named(&there), None, there.clone()),
            (file.clone(), name, folder.path().join("file")),
        ] {
            assert_eq!(to.destination(name).expect("a place").place, place);
        }
        for (wrong, says) in [
            (folder.path().join("no/x"), "there is no folder"),
            (folder.path().join("no/"), "there is no folder"),
            (PathBuf::new(), "an empty name"),
            (PathBuf::from("/dev/null"), "is a device"),
        ] {
            let failure = named(&wrong).destination(name).expect_err("refused");
            assert!(failure.message.contains(says), "{failure:?}");
        }
    }

    #[test]
    fn a_copy_that_is_not_complete_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let from = folder.path().join("from");
        std::fs::create_dir(&from).expect("a folder");
        std::fs::write(from.join("a"), "new").expect("a file");
        let from = named(&from);
        let source = from.source().expect("it is there");
        assert_eq!((source.is_folder, source.bytes()), (true, Ok(3)));
        let mut stream = Vec::new();
        source
            .pack(Some(OsStr::new(".")), &mut stream, |_| ())
            .expect("packed")
            .expect("taken");
        let to = folder.path().join("to");
        let named = named(&to);
        for done in [false, true] {
            let new = named.destination(None).expect("a place");
            new.unpack(&stream[..], |_| ()).expect("unpacked");
            if done {
                new.complete().expect("in its place");
            } else {
                drop(new);
            }
            assert_eq!(to.join("a").exists(), done);
            let names = std::fs::read_dir(folder.path()).expect("a folder").count();
            assert_eq!(names, 1 + usize::from(done));
        }
    }

    #[test]
    fn what_is_no_file_and_no_folder_is_no_source() {
        for (path, says) in [
            ("/dev/null", "a device"),
            ("/nonexistent", "there is no file"),
            ("-", "./-"),
        ] {
            let failure = named(Path::new(path)).source().expect_err("refused");
            assert!(failure.message.contains(says), "{failure:?}");
        }
    }
}
