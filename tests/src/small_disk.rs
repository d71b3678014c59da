//! A disk that fills up: a test in a process of its own, with its temporary folder on a file system of a few MiB.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says in the process of its own where the disk is.
const HERE: &str = "KILN_TEST_SMALL_DISK";

/// The disk.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// The disk on which this process has its temporary folder, if it is the one of its own.
    pub fn here() -> Option<SmallDisk> {
        std::env::var_os(HERE).map(|folder| SmallDisk(folder.into()))
    }

    /// Starts this test program anew for the one test of this name, on a disk of as many MiB, with more `variables`.
    ///
    /// # Panics
    /// The test fails there. What it said is told.
    #[track_caller]
    pub fn start(test: &str, mebibytes: u32, variables: &[(&str, &OsStr)]) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // A mount namespace of its own, with a user namespace where the tests run as an ordinary user.
        let root = rustix::process::geteuid().is_root();
        let output = Command::new("unshare")
            .args([if root { "-m" } else { "-Urm" }, "sh", "-ec"])
            .arg("mount -t tmpfs -o size=$0m kiln-test \"$TMPDIR\"; exec \"$@\"")
            .arg(mebibytes.to_string())
            .arg(std::env::current_exe().expect("a test program has a path"))
            .args(["--exact", test, "--nocapture", "--include-ignored"])
            .env("TMPDIR", folder.path())
            .env(HERE, folder.path())
            .envs(variables.iter().copied())
            .output()
            .expect("unshare runs");
        let [told, failed] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(
            output.status.success() && told.contains(" 1 passed"),
            "{test}: {}\n{told}\n{failed}",
            output.status
        );
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Fills it, but for so many bytes.
    #[track_caller]
    pub fn fill(&self, room: u64) {
        let mut file = File::create(self.filler()).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        let full = file.metadata().expect("its length").len();
        file.set_len(full.saturating_sub(room)).expect("a shorter file");
    }

    /// Takes away what it was filled with.
    #[track_caller]
    pub fn clear(&self) {
        fs::remove_file(self.filler()).expect("room again");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}
