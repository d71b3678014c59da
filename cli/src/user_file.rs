//! Files that the user names. Nothing else in this program opens a file by a name from the command
//! line: a command that was forwarded to the software machine finds the user's files elsewhere.

mod tree;

pub(crate) use tree::last_name;

use crate::failure::Failure;
use crate::software_machine::inside;
use kiln_control::DataMap;
use rustix::fs::{FileType, Mode, OFlags};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const NO_STREAM: &str =
    "a file is wanted, not a stream, which has no holes: name one (one that is called - is ./-)";

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
        let place = place_of(&typed, inside::user_folder().as_deref());
        Self { typed, place }
    }
}

/// Relative names begin at the user's working folder; in the software machine all of that is below
/// one folder, and the links of the folders on the way lead from there.
fn place_of(typed: &Path, user_folder: Option<&Path>) -> PathBuf {
    let Some(folder) = user_folder else {
        return typed.to_path_buf();
    };
    let named = folder.join(typed);
    let found = match (named.parent(), named.file_name()) {
        (Some(parent), Some(name)) => inside::resolve(parent).map(|parent| parent.join(name)),
        _ => inside::resolve(&named),
    };
    found.unwrap_or_else(|| inside::place_of(&named))
}

impl UserFile {
    /// The name as it was typed.
    pub(crate) fn name(&self) -> String {
        self.typed.display().to_string()
    }

    /// The same, as another command takes it.
    pub(crate) fn argument(&self) -> OsString {
        self.typed.clone().into_os_string()
    }

    /// Whether two names are of one place, be there a file or not.
    pub(crate) fn is_also(&self, other: &UserFile) -> bool {
        let place = |file: &UserFile| {
            let (folder, name) = (file.place.parent()?, file.place.file_name()?);
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            Some((folder.canonicalize().ok()?, name.to_owned()))
        };
        place(self).is_some_and(|own| Some(own) == place(other))
    }

    /// The ending of its name, in lower case.
    pub(crate) fn ending(&self) -> Option<String> {
        self.typed.extension().map(|e| e.to_string_lossy().to_lowercase())
    }

    /// Whether there is a regular file of this name.
    pub(crate) fn exists(&self) -> bool {
        self.followed().is_file()
    }

    /// Where what it leads to is, should it be a link: in the software machine that is told as the host would.
    fn followed(&self) -> PathBuf {
        let of_host = inside::user_folder().and_then(|folder| inside::resolve(&folder.join(&self.typed)));
        of_host.unwrap_or_else(|| self.place.clone())
    }

    /// It is not empty, nor that of a stream: `no_stream` says why not.
    fn must_have_a_name(&self, no_stream: &str) -> Result<(), Failure> {
        let why = match self.typed.as_os_str().as_encoded_bytes() {
            b"" => "an empty name names no file",
            b"-" => no_stream,
            _ => return Ok(()),
        };
        Err(Failure::coded("InvalidParameterValue", why))
    }

    /// Opens it for reading. Only regular files: a FIFO would wait for its writer for ever.
    pub(crate) fn open(&self) -> Result<File, Failure> {
        self.must_have_a_name(NO_STREAM)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::open(self.followed(), flags, Mode::empty())
            .map_err(|e| self.cannot("open", e.into()))?;
        let is = rustix::fs::fstat(&file).map_err(|e| self.cannot("look at", e.into()))?;
        self.must_be_regular(&is)?;
        Ok(File::from(file))
    }

    /// Its first bytes, `most` of them.
    pub(crate) fn read_beginning(&self, most: u64) -> Result<Vec<u8>, Failure> {
        let mut content = Vec::new();
        let read = self.open()?.take(most).read_to_end(&mut content);
        read.map_err(|error| self.cannot("read", error))?;
        Ok(content)
    }

    /// All of it, no more than `most` bytes.
    pub(crate) fn read(&self, most: u64) -> Result<Vec<u8>, Failure> {
        let content = self.read_beginning(most.saturating_add(1))?;
        if content.len() as u64 > most {
            let message = format!(
                "{} is larger than {most} bytes: it is another file than is meant here",
                self.name()
            );
            return Err(Failure::coded("InvalidParameterValue", message));
        }
        Ok(content)
    }

    /// Where it has data, for a process that sees the file but not its holes; none if that cannot be told.
    pub(crate) fn map(&self) -> Option<DataMap> {
        DataMap::of(&self.open().ok()?).ok()?
    }

    /// A new file that takes this one's place once it is complete ([`NewFile::complete`]). What is there and no
    /// regular file is left alone, symbolic links too.
    pub(crate) fn create(&self, over: Over) -> Result<NewFile<'_>, Failure> {
        self.must_have_a_name(NO_STREAM)?;
        match rustix::fs::lstat(&self.place) {
            Ok(is) => {
                self.must_be_regular(&is)?;
                if over == Over::Nothing {
                    let name = self.name();
                    return Err(Failure::coded(
                        "InvalidParameterValue",
                        format!("{name} is there already: name another file, or replace it by --force"),
                    ));
                }
            }
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(self.cannot("create", error.into())),
        }
        let no_name = || self.cannot("create", std::io::ErrorKind::InvalidFilename.into());
        let mut name = OsString::from(".");
        name.push(self.place.file_name().ok_or_else(no_name)?);
        // Nothing that a killed command left has this name; process ids come again, in a container soon.
        name.push(format!(".{}", uuid::Uuid::new_v4().simple()));
        let place = self.place.with_file_name(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::open(&place, flags, Mode::from_raw_mode(0o666))
            .map_err(|e| self.cannot("create", e.into()))?;
        Ok(NewFile {
            of: self,
            place,
            file: File::from(file),
        })
    }

    /// A message that names the file where this process found it, with the name that the user knows.
    pub(crate) fn as_typed(&self, message: &str) -> String {
        self.as_typed_at(&self.place, message)
    }

    /// The same where it was found at `place`.
    fn as_typed_at(&self, place: &Path, message: &str) -> String {
        match place.to_str() {
            Some(place) if place != "/" => message.replace(place, &self.name()),
            _ => message.to_owned(),
        }
    }

    fn is_address(&self) -> bool {
        self.typed
            .to_str()
            .and_then(|typed| typed.split_once(":/"))
            .is_some_and(|(scheme, _)| ["http", "https", "s3", "ftp"].contains(&scheme))
    }

    fn must_be_regular(&self, is: &rustix::fs::Stat) -> Result<(), Failure> {
        self.must_be_of_kind(FileType::from_raw_mode(is.st_mode))
    }

    fn must_be_of_kind(&self, kind: FileType) -> Result<(), Failure> {
        let kind = match kind {
            FileType::RegularFile => return Ok(()),
            FileType::Directory => "a directory",
            FileType::Symlink => "a symbolic link",
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
        let name = self.name();
        let message = match (error.kind(), verb) {
            (std::io::ErrorKind::NotFound, "open") if self.is_address() => {
                format!(
                    "{name} is an address: download it first, then name the file (`kiln image import` does both for http and \
                     https)"
                )
            }
            (std::io::ErrorKind::NotFound, "create") => format!("there is no folder for {name}"),
            (std::io::ErrorKind::NotFound, _) => format!("there is no file {name}"),
            (std::io::ErrorKind::PermissionDenied, _) => {
                format!("cannot {verb} {name}: you may not (permission denied)")
            }
            _ => format!("cannot {verb} {name}: {error}"),
        };
        Failure::coded("InvalidParameterValue", message)
    }
}

/// What a new file may take the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Of nothing: a file that is there is an error.
    Nothing,
    /// Of a regular file.
    RegularFile,
}

/// A file that is being written under a name of its own, beside the place that it will take. Dropped before it is
/// complete, it is gone, and what was in that place stays.
#[derive(Debug)]
pub(crate) struct NewFile<'a> {
    of: &'a UserFile,
    place: PathBuf,
    file: File,
}

impl NewFile<'_> {
    /// The file, to be written.
    pub(crate) fn file(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// Writes all that it is to hold.
    pub(crate) fn write_all(&self, content: &[u8]) -> Result<(), Failure> {
        let mut file = &self.file;
        file.write_all(content)
            .map_err(|error| self.of.cannot("write", error))
    }

    /// Removes it if this program is told to end meanwhile.
    pub(crate) fn remove_at_a_signal(&self) -> Result<(), Failure> {
        let place = self.place.clone();
        crate::interrupt::at_a_signal(move || {
            // Nobody is left to be told.
            let _ = std::fs::remove_file(&place);
        })
    }

    /// Puts it in its place.
    pub(crate) fn complete(self) -> Result<(), Failure> {
        std::fs::rename(&self.place, &self.of.place).map_err(|e| self.of.cannot("write", e))
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        // After `complete` there is nothing under this name any more.
        let _ = std::fs::remove_file(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

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
            (Path::new("/nonexistent"), "there is no file"),
            (Path::new("https://example.org/a.raw"), "download it first"),
            (Path::new(""), "an empty name"),
        ] {
            let failure = UserFile::from(path.as_os_str().to_owned())
                .open()
                .expect_err("refused");
            assert!(failure.message.contains(word), "{failure:?}");
            assert_eq!(failure.status, 1);
        }
    }

    #[test]
    fn a_new_file_takes_its_place_when_it_is_complete_and_leaves_the_old_one_until_then() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("disk.raw");
        std::fs::write(&path, "old").expect("written");
        let named = UserFile::from(path.clone().into_os_string());
        for (done, content) in [(false, "old"), (true, "new")] {
            let new = named.create(Over::RegularFile).expect("a new file");
            new.file().expect("a file").write_all(b"new").expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), "old");
            if done {
                new.complete().expect("in its place");
            } else {
                drop(new);
            }
            assert_eq!(std::fs::read_to_string(&path).expect("read"), content);
            assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
        }
        // As a killed command of this very process id leaves it.
        let left = folder.path().join(format!(".disk.raw.{}", std::process::id()));
        std::fs::write(&left, "cut off").expect("written");
        named.create(Over::RegularFile).expect("nothing is in its way");
        let failure = named.create(Over::Nothing).expect_err("a file is there");
        assert!(failure.message.contains("--force"), "{failure:?}");
        let link = folder.path().join("link.raw");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        for (path, kind) in [(folder.path(), "is a directory"), (&link, "is a symbolic link")] {
            let failure = UserFile::from(path.as_os_str().to_owned())
                .create(Over::RegularFile)
                .expect_err("refused");
            assert!(failure.message.contains(kind), "{failure:?}");
        }
    }

    #[test]
    fn two_names_of_one_place_are_known_to_be_that() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let named = |name: &str| UserFile::from(folder.path().join(name).into_os_string());
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).expect("a link");
        for other in ["a", "./a", "link/a"] {
            assert!(named("a").is_also(&named(other)), "{other}");
        }
        for other in ["b", "no/a", ".."] {
            assert!(!named("a").is_also(&named(other)), "{other}");
        }
    }

    #[test]
    fn the_name_of_a_stream_is_refused() {
        let stream = UserFile::from(OsString::from("-"));
        let read = stream.open().map(drop);
        for refused in [read, stream.create(Over::Nothing).map(drop)] {
            let failure = refused.expect_err("refused");
            assert!(failure.message.contains("./-"), "{failure:?}");
        }
    }

    #[test]
    fn a_message_names_the_file_as_it_was_typed() {
        let file = UserFile {
            typed: "a.qcow2".into(),
            place: "/host/home/me/a.qcow2".into(),
        };
        assert_eq!(
            file.as_typed("/host/home/me/a.qcow2: cut off"),
            "a.qcow2: cut off"
        );
    }
}
