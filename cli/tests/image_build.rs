//! `kiln image build` as its users meet it: Debian's packages become a disk in the cache.
//!
//! `make test` runs these: they need the programs built statically, in the folder that `KILN_TEST_BIN` names, and a
//! mirror of Debian. No guest is started.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian's `nobody`.
const NOBODY: u32 = 65534;

/// One person's home: a cache of their own, and the programs where they may run them.
struct Person {
    home: tempfile::TempDir,
    /// Runs as whoever runs the tests.
    same_user: bool,
}

impl Person {
    /// Whoever runs the tests.
    fn this_one() -> Person {
        Person {
            home: tempfile::tempdir().expect("a temporary folder"),
            same_user: true,
        }
    }

    /// Somebody without privileges.
    fn ordinary() -> Person {
        let mut person = Person::this_one();
        let folder =
            std::env::var_os("KILN_TEST_BIN").expect("KILN_TEST_BIN is not set: run this by `make test`");
        for program in ["kiln", "kiln-vmm", "kiln-agent"] {
            let from = Path::new(&folder).join(program);
            std::fs::copy(&from, person.home.path().join(program)).expect("a copy");
        }
        person.same_user = !rustix::process::geteuid().is_root();
        if !person.same_user {
            chown(person.home.path(), Some(NOBODY), Some(NOBODY)).expect("root gives a folder away");
        }
        person
    }

    fn program(&self) -> PathBuf {
        let own = self.home.path().join("kiln");
        if own.exists() {
            return own;
        }
        let folder =
            std::env::var_os("KILN_TEST_BIN").expect("KILN_TEST_BIN is not set: run this by `make test`");
        Path::new(&folder).join("kiln")
    }

    /// Builds `tiny`: its disk, and what was said meanwhile.
    fn build(&self) -> (PathBuf, String) {
        let mut command = Command::new(self.program());
        command
            .args(["image", "build", "tiny", "--cache-only"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        if !self.same_user {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().expect("kiln starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let disk = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (PathBuf::from(disk), said)
    }
}

#[test]
#[ignore = "downloads packages: make test runs it"]
fn an_image_that_was_built_once_comes_from_the_cache() {
    let person = Person::this_one();
    let (disk, said) = person.build();
    assert!(disk.starts_with(person.home.path().join(".cache/kiln")));
    assert!(
        said.contains("is in the cache now"),
        "the first time builds: {said}"
    );
    let first = disk.metadata().expect("a disk");
    let (again, said) = person.build();
    let second = again.metadata().expect("a disk");
    assert_eq!((again, said), (disk, String::new()), "the second time does not");
    assert_eq!(
        (second.ino(), second.mtime_nsec()),
        (first.ino(), first.mtime_nsec()),
        "nothing was written"
    );
}

#[test]
#[ignore = "downloads packages: make test runs it"]
fn the_same_input_gives_the_same_bytes_for_whoever_builds() {
    let (one, other) = (Person::this_one(), Person::ordinary());
    let (disk, _) = one.build();
    let (same, said) = other.build();
    assert!(said.contains("is in the cache now"), "both were built: {said}");
    assert_eq!(disk.file_name(), same.file_name());
    let read = |disk: &Path| std::fs::read(disk).expect("a disk");
    let (bytes, again) = (read(&disk), read(&same));
    let differs = bytes.iter().zip(&again).position(|(a, b)| a != b);
    assert_eq!(
        (differs, bytes.len()),
        (None, again.len()),
        "first byte that differs"
    );
    if rustix::process::geteuid().is_root() {
        assert_eq!(
            same.metadata().expect("a disk").uid(),
            NOBODY,
            "built without root"
        );
    }
}
