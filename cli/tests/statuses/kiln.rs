//! A home of its own, and the `kiln` program on it.

use std::process::{Command, Output, Stdio};

/// The program and its home.
pub(crate) struct Kiln {
    pub(crate) home: tempfile::TempDir,
}

impl Kiln {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// A home with images of an empty disk.
    pub(crate) fn with_images(names: &[&str]) -> Self {
        let kiln = Self::new();
        std::fs::write(kiln.home.path().join("disk.raw"), vec![0; 4096]).expect("a file");
        for name in names {
            let imported = kiln.run(&["image", "import", "disk.raw", "--name", name]);
            assert_eq!(imported.status, 0, "{imported:?}");
        }
        kiln
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.program(&[&[env!("CARGO_BIN_EXE_kiln")], arguments].concat())
    }

    pub(crate) fn program(&self, argv: &[&str]) -> Command {
        let mut command = Command::new(argv[0]);
        command
            .args(&argv[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("KILN_HOME", self.home.path().join("store"))
            .env("KILN_ACCEL", "kvm")
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().expect("it starts"))
    }
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("it was not killed"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}
