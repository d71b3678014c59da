//! Files that the user names. Nothing else in this program opens a file by a name from the command
//! line: a command that was forwarded to the software machine finds the user's files elsewhere.

use crate::failure::Failure;
use crate::software_machine::forward;
use kiln_control::DataMap;
use rustix::fs::{FileType, Mode, OFlags};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A file on the host of the user who typed its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserFile {
    /// As it was typed, for messages.
    typed: PathBuf,
    /// Where this process finds it.
    place: PathBuf,
}

impl From<OsString> for UserFile {
    fn from(typed: OsString) -> Self {
        let typed = PathBuf::from(typed);
        let place = place_of(&typed, forward::user_folder().as_deref());
        Self { typed, place }
    }
}

/// Relative names begin at the user's working folder; in the software machine all of that is below
/// one folder.
fn place_of(typed: &Path, user_folder: Option<&Path>) -> PathBuf {
    match user_folder {
        Some(folder) => forward::inside(&folder.join(typed)),
        None => typed.to_path_buf(),
    }
}

impl UserFile {
    /// The name as it was typed.
    pub(crate) fn name(&self) -> String {
        self.typed.display().to_string()
    }

    /// The ending of its name, in lower case.
    pub(crate) fn ending(&self) -> Option<String> {
        self.typed.extension().map(|e| e.to_string_lossy().to_lowercase())
    }

    /// Opens it for reading. Only regular files: a FIFO would wait for its writer for ever.
    pub(crate) fn open(&self) -> Result<File, Failure> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file =
            rustix::fs::open(&self.place, flags, Mode::empty()).map_err(|e| self.cannot("open", e.into()))?;
        self.must_be_regular(&file)?;
        Ok(File::from(file))
    }

    /// Where it has data, for a process that sees the file but not its holes; none if that cannot be told.
    pub(crate) fn map(&self) -> Option<DataMap> {
        DataMap::of(&self.open().ok()?).ok()?
    }

    /// Makes it, or empties it, for reading and writing. What is no regular file is left alone.
    pub(crate) fn create(&self) -> Result<File, Failure> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::open(&self.place, flags, Mode::from_raw_mode(0o666))
            .map_err(|e| self.cannot("create", e.into()))?;
        self.must_be_regular(&file)?;
        let file = File::from(file);
        file.set_len(0).map_err(|e| self.cannot("empty", e))?;
        Ok(file)
    }

    /// Removes it, after it could not be completed.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_file(&self.place);
    }

    fn must_be_regular(&self, file: impl std::os::fd::AsFd) -> Result<(), Failure> {
        let is = rustix::fs::fstat(file).map_err(|e| self.cannot("look at", e.into()))?;
        let kind = match FileType::from_raw_mode(is.st_mode) {
            FileType::RegularFile => return Ok(()),
            FileType::Directory => "a directory",
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            FileType::BlockDevice | FileType::CharacterDevice => "a device",
            _ => "something else",
        };
        Err(Failure::coded(
            "InvalidParameterValue",
            format!("{} is {kind}, not a regular file", self.name()),
        ))
    }

    fn cannot(&self, verb: &str, error: std::io::Error) -> Failure {
        Failure::coded(
            "InvalidParameterValue",
            format!("cannot {verb} {}: {error}", self.name()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_software_machine_a_name_is_looked_up_from_the_users_folder() {
        let here = Path::new("/home/me");
        assert_eq!(
            place_of(Path::new("a.raw"), Some(here)),
            Path::new("/host/home/me/a.raw")
        );
        assert_eq!(
            place_of(Path::new("/a.raw"), Some(here)),
            Path::new("/host/a.raw")
        );
        assert_eq!(place_of(Path::new("a.raw"), None), Path::new("a.raw"));
    }

    #[test]
    fn a_folder_and_a_fifo_are_named_and_nothing_waits() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .expect("mkfifo");
        for (path, word) in [
            (folder.path(), "directory"),
            (&fifo, "FIFO"),
            (Path::new("/nonexistent"), "No such file"),
        ] {
            let failure = UserFile::from(path.as_os_str().to_owned())
                .open()
                .expect_err("refused");
            assert!(failure.message.contains(word), "{failure:?}");
            assert_eq!(failure.status, 1);
        }
    }
}
