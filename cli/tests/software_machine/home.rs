//! A store of its own with a software machine, which is stopped at the end.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

pub(crate) struct Home {
    pub(crate) folder: tempfile::TempDir,
    /// Another cache than the user's.
    pub(crate) cache: Option<PathBuf>,
    pub(crate) idle_seconds: u32,
    pub(crate) silence_seconds: u32,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            cache: None,
            idle_seconds: 600,
            silence_seconds: 120,
        }
    }

    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("KILN_HOME", self.folder.path())
            .env("KILN_ACCEL", "software")
            .env("KILN_MACHINE_IDLE_SECONDS", self.idle_seconds.to_string())
            .env("KILN_MACHINE_SILENCE_SECONDS", self.silence_seconds.to_string())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        if let Some(cache) = &self.cache {
            command.env("XDG_CACHE_HOME", cache);
        }
        command
    }

    pub(crate) fn kiln(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(&kiln(), arguments).output().expect("kiln starts"))
    }

    /// A script of sh on this host, with the program as `$0`.
    pub(crate) fn script(&self, script: &str) -> Ended {
        let mut command = self.command("sh", &["-c", script, &kiln()]);
        Ended::of(command.output().expect("sh runs"))
    }

    pub(crate) fn inside(&self, script: &str) -> Ended {
        self.kiln(&["machine", "shell", "--", "sh", "-c", script])
    }

    /// A command that is at work there: `sleep 987`, as it is seen there.
    pub(crate) fn sleeper(&self) -> Child {
        let script = ["machine", "shell", "--", "sh", "-c", "echo up; exec sleep 987"];
        let mut command = self.command(&kiln(), &script);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("kiln starts");
        let mut up = [0; 3];
        let said = child.stdout.as_mut().expect("piped").read_exact(&mut up);
        said.expect("it says that it is up");
        assert_eq!(&up, b"up\n");
        child
    }

    /// The supervisor of this home, and the QEMU that it owns.
    pub(crate) fn processes(&self) -> (i32, i32) {
        let of = |wanted: &dyn Fn(&str, i32) -> bool| {
            let all = std::fs::read_dir("/proc").expect("procfs").flatten();
            let pids = all.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
            let mut pids = pids;
            pids.find(|pid: &i32| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                let parent = stat
                    .rsplit(')')
                    .next()
                    .and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
                wanted(&String::from_utf8_lossy(&line), parent.unwrap_or(0))
            })
            .unwrap_or(0)
        };
        let home = self.folder.path().display().to_string();
        let supervisor = of(&|line, _| line.contains("machine-supervisor") && line.contains(&home));
        let qemu = of(&|line, parent| parent == supervisor && line.contains("qemu"));
        (supervisor, qemu)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.kiln(&["machine", "stop"]);
    }
}

pub(crate) fn kiln() -> String {
    let folder =
        std::env::var_os("KILN_TEST_BIN").expect("KILN_TEST_BIN is not set: run this by `make test`");
    PathBuf::from(folder).join("kiln").display().to_string()
}

/// A zombie that nobody has fetched is not alive.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim_start().starts_with('Z') && !rest.is_empty())
}

pub(crate) fn signal(pid: i32, name: &str) {
    // The shell's own: a bare host has no program of that name.
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status()
        .expect("a shell runs");
    assert!(sent.success(), "no process {pid}");
}

#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        assert_eq!((self.status, self.out.trim()), (0, text), "{self:?}");
    }
}
