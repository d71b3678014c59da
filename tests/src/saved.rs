//! An instance's machine, saved and started anew from there, beside what `kiln` knows of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_vmm::client::{self, SaveReport, SavedFiles, Vmm};
use kiln_vmm::saved::{RestoreSpec, state_file};
use kiln_vmm::spec::MachineSpec;
use serde_json::Value;

use crate::{Guest, home};

/// Whatever a kernel says when its time, a processor or its memory is not what it was.
pub const COMPLAINTS: &str =
    "lockup|hung task|rcu.*stall|BUG|Oops|I/O error|EXT4-fs error|general protection";

/// A machine on disk.
pub struct Saved {
    folder: tempfile::TempDir,
    /// What the save cost.
    pub report: SaveReport,
}

impl Saved {
    /// Saves the machine of `guest`, held or not.
    #[track_caller]
    pub fn of(guest: &Guest<'_>) -> Saved {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = SavedFiles::create(folder.path()).expect("the folder is empty");
        let report = vmm(guest).save(&files).expect("it is saved");
        Saved { folder, report }
    }

    /// The folder with both files.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The state.
    #[track_caller]
    pub fn state(&self) -> Value {
        let files = SavedFiles::open(self.path()).expect("both are there");
        state_file::read(&files.state).expect("it is whole")
    }

    /// Ends the machine of `guest` and starts it anew from here, held; how long the start took.
    #[track_caller]
    pub fn replace(&self, guest: &Guest<'_>) -> Duration {
        vmm(guest).kill().expect("it ends");
        let dir = folder(guest);
        let record = client::wait_exit(&dir, Duration::from_secs(60)).expect("its folder can be read");
        assert!(record.is_some(), "{} has ended", guest.id());
        let path = dir.join("spec.json");
        let mut spec = MachineSpec::read(&path).expect("it was started with it");
        spec.restore = Some(RestoreSpec {
            folder: self.path().to_owned(),
            paused: true,
        });
        std::fs::write(&path, serde_json::to_vec(&spec).expect("plain data")).expect("it can be written");
        let start = Instant::now();
        client::spawn(&home::program("kiln-vmm"), &dir).expect("it goes on");
        start.elapsed()
    }
}

/// A connection to the machine of `guest`.
#[track_caller]
pub fn vmm(guest: &Guest<'_>) -> Vmm {
    Vmm::connect(&folder(guest)).expect("it runs")
}

fn folder(guest: &Guest<'_>) -> PathBuf {
    guest.home().path().join("instances").join(guest.id())
}
