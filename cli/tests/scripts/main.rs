//! The scripts behind the make targets, as people meet them.

mod checks;
mod install;
mod packages;
mod purge;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A clone of their own with these scripts in it.
struct Clone {
    folder: tempfile::TempDir,
}

struct Ended {
    status: Option<i32>,
    said: String,
}

impl Clone {
    fn new() -> Clone {
        let clone = Clone {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        fs::create_dir(clone.path("scripts")).expect("a folder");
        for name in [
            "purge.sh",
            "packages.sh",
            "workflow.sh",
            "skipped.sh",
            "lane.sh",
            "preflight.sh",
        ] {
            kiln_tests::install(&scripts.join(name), &clone.path("scripts").join(name));
        }
        let table = "guest-images/src/host/packages.tsv";
        fs::create_dir_all(clone.path("guest-images/src/host")).expect("a folder");
        fs::copy(scripts.join("..").join(table), clone.path(table)).expect("a table");
        clone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// With links to these programs of the host in `bin`.
    fn with_links(self, names: &[&str]) -> Clone {
        fs::create_dir_all(self.path("bin")).expect("a folder");
        for name in names {
            symlink(Path::new("/usr/bin").join(name), self.path("bin").join(name)).expect("a link");
        }
        self
    }

    fn program(&self, name: &str, does: &str) {
        let text = self.folder.path().join("program");
        fs::write(&text, format!("#!/bin/sh\n{does}\n")).expect("a program");
        kiln_tests::install(&text, &self.path(name));
    }
}

fn ended(command: &mut Command, answer: &str) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the script starts");
    let mut input = child.stdin.take().expect("piped");
    // A script that asks nothing may have ended.
    let _ = input.write_all(answer.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("the script ends");
    let said = [output.stdout, output.stderr].concat();
    Ended {
        status: output.status.code(),
        said: String::from_utf8_lossy(&said).into_owned(),
    }
}
