//! A store of a test's own, and the `kiln` command on it.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::{Guest, Outcome, seed};
use serde_json::Value;

/// A `KILN_HOME` with the test images, gone with the test, its guests too.
pub struct Home {
    folder: tempfile::TempDir,
}

impl Default for Home {
    fn default() -> Home {
        Home::new()
    }
}

impl Home {
    /// A fresh store which holds the images `tiny` and `debian`.
    #[track_caller]
    pub fn new() -> Home {
        let home = Home::empty();
        seed::clone(&seed::path(), &home.path()).expect("the seed store can be cloned");
        home
    }

    /// A store with nothing in it.
    #[track_caller]
    pub fn empty() -> Home {
        Home {
            folder: tempfile::Builder::new()
                .prefix("kiln-")
                .tempdir()
                .expect("a temporary folder"),
        }
    }

    /// The folder of the store.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A file of the test's own beside the store.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The `kiln` command on this store, to be changed and started by the caller.
    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        self.command_of(program("kiln").as_ref(), arguments)
    }

    fn command_of(&self, kiln: &OsStr, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(kiln);
        command
            .args(arguments)
            .env("KILN_HOME", self.path())
            .env("KILN_ACCEL", "kvm")
            .stdin(Stdio::null());
        command
    }

    /// Runs `kiln` with `arguments` to its end.
    #[track_caller]
    pub fn kiln(&self, arguments: &[impl AsRef<OsStr>]) -> Outcome {
        self.outcome(self.command(arguments), &[])
    }

    /// Runs `kiln` with `arguments`, feeding it `input`.
    #[track_caller]
    pub fn kiln_with(&self, arguments: &[impl AsRef<OsStr>], input: &[u8]) -> Outcome {
        self.outcome(self.command(arguments), input)
    }

    /// Runs a `kiln` that was built to be killed, at the step named `point`.
    #[track_caller]
    pub fn dies_at(&self, point: &str, arguments: &[impl AsRef<OsStr>]) -> Outcome {
        let mut command = self.mortal(arguments);
        command.env("KILN_CRASH_POINT", point);
        self.outcome(command, &[])
    }

    /// The steps at which it can be killed, a line each.
    #[track_caller]
    pub fn crash_points(&self) -> String {
        self.outcome(self.mortal(&["crash-points"]), &[])
            .succeeds()
            .text()
    }

    /// A `kiln` that was built to be killed: `KILN_TEST_MORTAL` is its path.
    #[track_caller]
    fn mortal(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mortal = std::env::var_os("KILN_TEST_MORTAL").expect("KILN_TEST_MORTAL is set by `make test`");
        self.command_of(&mortal, arguments)
    }

    /// Runs `command` on this store to its end, feeding it `input`.
    #[track_caller]
    pub fn outcome(&self, mut command: Command, input: &[u8]) -> Outcome {
        Outcome {
            instances: self.path().join("instances"),
            ..outcome(&mut command, input)
        }
    }

    /// Runs a `kiln` command that must succeed and returns the document it prints.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--output", "json"];
        all.extend(arguments);
        self.kiln(&all).succeeds().json()
    }

    /// Launches one instance of `image` with more `options`, and waits until its agent answers.
    #[track_caller]
    pub fn launch(&self, image: &str, options: &[&str]) -> Guest<'_> {
        let mut arguments = vec!["-q", "run", image, "--wait", "agent"];
        arguments.extend(options);
        Guest::new(self, self.kiln(&arguments).succeeds().text())
    }

    /// Asserts that the store is whole: `kiln check` finds nothing, but for clusters that a guest which was ended by force
    /// has leaked in its own layer.
    #[track_caller]
    pub fn is_whole(&self) {
        let check = self.json(&["check"]);
        let mut found = check["Findings"].as_array().expect("findings").clone();
        found.retain(|finding| finding["Code"] != "LayerLeaks");
        assert!(found.is_empty(), "the check found {found:#?}");
    }

    /// The layer files of the store, by path.
    pub fn layers(&self) -> Vec<PathBuf> {
        let folder = self.path().join("regions/us-east-1/layers");
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let mut layers: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        layers.retain(|p| p.extension().is_some_and(|e| e == "qcow2"));
        layers.sort();
        layers
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.path().join("kiln.db").exists() {
            let everything = self.kiln(&["-q", "list"]);
            for id in everything.text().lines() {
                self.kiln(&["terminate", id]);
            }
        }
    }
}

/// The path of one of Kiln's programs (`KILN_TEST_BIN` names their folder).
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let folder =
        std::env::var_os("KILN_TEST_BIN").expect("KILN_TEST_BIN is not set: run the tests by `make test`");
    Path::new(&folder).join(name)
}

/// Runs `command` to its end, feeding it `input`.
#[track_caller]
pub fn outcome(command: &mut Command, input: &[u8]) -> Outcome {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let feeder = child.stdin.take().map(|mut pipe| {
        let input = input.to_vec();
        std::thread::spawn(move || drop(pipe.write_all(&input)))
    });
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("the program ends");
    if let Some(feeder) = feeder {
        feeder.join().expect("the feeder does not panic");
    }
    Outcome {
        command: format!("{command:?}"),
        status: status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        instances: PathBuf::new(),
    }
}

/// The layer file of a completed snapshot, by the catalogue's own word.
#[track_caller]
pub fn layer_of(home: &Home, snapshot: &str) -> PathBuf {
    let catalogue = rusqlite::Connection::open(home.path().join("kiln.db")).expect("the catalogue opens");
    let query = "SELECT layer FROM snapshots WHERE id = ?1 AND state = 'completed'";
    let layer: String = catalogue
        .query_row(query, [snapshot], |row| row.get(0))
        .expect("a completed snapshot");
    home.path()
        .join("regions/us-east-1/layers")
        .join(format!("{layer}.qcow2"))
}
