//! Private keys of pairs that were made here: files of a home, which nobody but its user reads.
//!
//! ```text
//!  KILN_HOME/keys/<region>/NAME      (0600, in folders of 0700)
//! ```
//!
//! A file is there before its pair is in the catalogue, and goes after it. So what a killed command leaves is a file
//! without a pair: the next pair of that name is made of it.

use crate::args::key::Type;
use crate::failure::Failure;
use kiln_control::{KeyType, PublicKey, fingerprint_of_created};
use kiln_guest_images::host::to_install;
use rustix::fs::{CWD, RenameFlags};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of one region's.
#[derive(Debug)]
pub(crate) struct PrivateKeys {
    folder: PathBuf,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct PrivateKey {
    /// Its file.
    pub(crate) place: PathBuf,
    /// What is in it.
    pub(crate) content: String,
    /// The other half.
    pub(crate) public_key: PublicKey,
    /// What EC2 would tell the pair by.
    pub(crate) fingerprint: String,
    /// Whether it was there before.
    pub(crate) was_there: bool,
}

impl PrivateKeys {
    /// Those of a home and region.
    pub(crate) fn of(home: &Path, region: &str) -> Self {
        Self {
            folder: home.join("keys").join(region),
        }
    }

    /// Makes one, with OpenSSH's tool, or takes what a command that was cut short has left.
    pub(crate) fn make(&self, name: &str, kind: Type) -> Result<PrivateKey, Failure> {
        let place = self.place(name)?;
        kiln_control::make_private(&self.folder)?;
        let was_there = match std::fs::symlink_metadata(&place) {
            Ok(is) if is.is_file() && is.permissions().mode() & 0o077 == 0 => true,
            Ok(_) => {
                return Err(refused(format!(
                    "{} is in the way: it is no file that only you can read; move it",
                    place.display()
                )));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(failed("look at", &place, &error)),
        };
        if !was_there {
            self.make_file(&place, name, kind)?;
        }
        let content = std::fs::read_to_string(&place).map_err(|error| failed("read", &place, &error))?;
        let public_key = PublicKey::parse(&ssh_keygen(&["-y", "-P", ""], &place)?)?;
        if was_there && public_key.key_type() != kind.into() {
            return Err(refused(format!(
                "{} is there already, and is a key of type {}: move it, or ask for that type",
                place.display(),
                public_key.key_type()
            )));
        }
        Ok(PrivateKey {
            fingerprint: fingerprint_of_created(&public_key, &content)?,
            place,
            content,
            public_key,
            was_there,
        })
    }

    /// Puts a new key in its place, whole and on disk.
    fn make_file(&self, place: &Path, name: &str, kind: Type) -> Result<(), Failure> {
        let new = self.folder.join(format!(".{}", uuid::Uuid::new_v4().simple()));
        let public = new.with_extension("pub");
        let word = KeyType::from(kind).to_string();
        let bits: &[&str] = match kind {
            Type::Ed25519 => &[],
            // As EC2 makes them, in the form in which it hands them out.
            Type::Rsa => &["-b", "2048", "-m", "PEM"],
        };
        let made = ssh_keygen(&[&["-q", "-t", &word, "-N", "", "-C", name], bits].concat(), &new);
        let put = made.and_then(|_| {
            let done = File::open(&new)
                .and_then(|file| file.sync_all())
                .and_then(|()| {
                    Ok(rustix::fs::renameat_with(
                        CWD,
                        &new,
                        CWD,
                        place,
                        RenameFlags::NOREPLACE,
                    )?)
                })
                .and_then(|()| File::open(&self.folder)?.sync_all());
            done.map_err(|error| failed("write", place, &error))
        });
        // The public half can be had of the other, always.
        for file in [&public, &new] {
            let _ = std::fs::remove_file(file);
        }
        put
    }

    /// Removes one, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Failure> {
        let Ok(place) = self.place(name) else {
            return Ok(());
        };
        match std::fs::remove_file(&place) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", &place, &error)),
            _ => Ok(()),
        }
    }

    fn place(&self, name: &str) -> Result<PathBuf, Failure> {
        kiln_control::check_key_name(name)?;
        if name.starts_with('.') || name.contains('/') {
            return Err(refused(format!(
                "'{name}' cannot be the name of a file, as that of a key that is made here is: leave out / and a dot at \
                 its beginning"
            )));
        }
        Ok(self.folder.join(name))
    }
}

impl From<Type> for KeyType {
    fn from(kind: Type) -> KeyType {
        match kind {
            Type::Ed25519 => KeyType::Ed25519,
            Type::Rsa => KeyType::Rsa,
        }
    }
}

/// Runs OpenSSH's tool for keys at a file; what it prints.
fn ssh_keygen(arguments: &[&str], file: &Path) -> Result<String, Failure> {
    let mut command = Command::new("ssh-keygen");
    command.args(arguments).arg("-f").arg(file).stdin(Stdio::null());
    let ended = command.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::new(format!(
            "ssh-keygen is not there, which makes and reads keys: {}",
            to_install(&["ssh-keygen"])
        )),
        _ => Failure::new(format!("cannot run ssh-keygen: {error}")),
    })?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(Failure::new(format!(
            "ssh-keygen failed at {}: {}",
            file.display(),
            said.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

fn refused(message: String) -> Failure {
    Failure::coded("InvalidParameterValue", message)
}

fn failed(verb: &str, place: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot {verb} {}: {error}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_in_its_place_for_its_user_only_and_is_taken_again_if_its_pair_never_was() {
        let home = tempfile::tempdir().expect("a folder");
        let keys = PrivateKeys::of(home.path(), "us-east-1");
        for (name, kind, begins, is) in [
            (
                "me",
                Type::Ed25519,
                "-----BEGIN OPENSSH PRIVATE KEY-----",
                KeyType::Ed25519,
            ),
            (
                "-my server",
                Type::Rsa,
                "-----BEGIN RSA PRIVATE KEY-----",
                KeyType::Rsa,
            ),
        ] {
            let made = keys.make(name, kind).expect("a key");
            assert_eq!(made.place, home.path().join("keys/us-east-1").join(name));
            assert!(made.content.starts_with(begins) && !made.was_there);
            assert_eq!(made.public_key.key_type(), is);
            for (path, mode) in [(made.place.as_path(), 0o600), (&keys.folder, 0o700)] {
                let is = std::fs::metadata(path).expect("it is there").permissions().mode();
                assert_eq!(is & 0o777, mode, "{}", path.display());
            }
            let again = keys.make(name, kind).expect("the same key");
            assert!(again.was_there && again.content == made.content);
            assert_eq!(again.fingerprint, made.fingerprint);
        }
        let other = keys.make("me", Type::Rsa).expect_err("it is of another type");
        assert!(other.message.contains("of type ed25519"), "{other:?}");
        let all = std::fs::read_dir(&keys.folder).expect("a folder").count();
        assert_eq!(all, 2, "nothing else is left");
        keys.remove("me").expect("removed");
        keys.remove("me").expect("it need not be there");
        assert_eq!(std::fs::read_dir(&keys.folder).expect("a folder").count(), 1);
    }

    #[test]
    fn what_others_can_read_or_is_no_files_name_is_no_private_key() {
        let home = tempfile::tempdir().expect("a folder");
        let keys = PrivateKeys::of(home.path(), "us-east-1");
        let place = keys.make("me", Type::Ed25519).expect("a key").place;
        std::fs::set_permissions(&place, PermissionsExt::from_mode(0o644)).expect("changed");
        for (name, told) in [
            ("me", "only you can read"),
            ("../me", "cannot be the name of a file"),
            (".me", "cannot be the name of a file"),
            ("", "no name of a key pair"),
        ] {
            let failure = keys.make(name, Type::Ed25519).expect_err("refused");
            assert!(failure.message.contains(told), "{failure:?}");
        }
        assert!(place.exists());
    }
}
