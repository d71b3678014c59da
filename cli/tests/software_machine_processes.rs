//! The processes around the software machine's QEMU, where none runs. No guest is needed.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// A supervisor that has the machine's lock and reads its settings.
struct Reading {
    supervisor: Child,
    /// It reads for as long as this is open.
    _settings: OwnedFd,
    home: tempfile::TempDir,
}

impl Reading {
    /// Started by a shell with these redirections; its stdout is a pipe before them.
    fn started_with(redirections: &str) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let machine = home.path().join("machine");
        std::fs::create_dir(&machine).expect("a folder");
        let settings = machine.join("settings.json");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &settings, FileType::Fifo, mode, 0).expect("a FIFO");
        let script = format!("exec \"$0\" machine-supervisor \"$1\" {redirections}");
        let mut supervisor = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_kiln")])
            .arg(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let settings = loop {
            match rustix::fs::open(&settings, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
                Ok(open) => break open,
                Err(error) => assert_eq!(error, Errno::NXIO, "nobody reads it yet"),
            }
            let ended = supervisor.try_wait().expect("it can be asked");
            assert_eq!(ended, None, "it read no settings");
            std::thread::sleep(Duration::from_millis(5));
        };
        Self {
            supervisor,
            _settings: settings,
            home,
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

#[test]
fn a_supervisor_keeps_nothing_open_of_whoever_started_it() {
    let reading = Reading::started_with("9>&1 >/dev/null 2>&1");
    let ours = reading.supervisor.stdout.as_ref().expect("piped").as_raw_fd();
    let pipe = std::fs::read_link(format!("/proc/self/fd/{ours}")).expect("a pipe");
    let open: Vec<PathBuf> = std::fs::read_dir(format!("/proc/{}/fd", reading.supervisor.id()))
        .expect("it lives")
        .filter_map(|entry| std::fs::read_link(entry.expect("an entry").path()).ok())
        .collect();
    assert!(open.iter().any(|file| file.ends_with("machine/lock")), "{open:?}");
    assert!(!open.contains(&pipe), "{pipe:?} is among {open:?}");
}

#[test]
fn what_a_supervisor_started_does_not_begin_when_it_is_gone() {
    let child = |parent: u32| {
        Command::new(env!("CARGO_BIN_EXE_kiln"))
            .args(["machine-child", &parent.to_string(), "echo", "it began"])
            .output()
            .expect("it starts")
    };
    let of_ours = child(std::process::id());
    assert_eq!(of_ours.stdout, b"it began\n", "{of_ours:?}");
    // No process has this number.
    let orphan = child(u32::MAX);
    assert_eq!(
        (orphan.status.code(), &*orphan.stdout),
        (Some(1), &b""[..]),
        "{orphan:?}"
    );
}

#[test]
fn a_machine_that_another_command_starts_is_not_deleted_under_it() {
    let mut reading = Reading::started_with("");
    let machine = reading.home.path().join("machine");
    let delete = || {
        Command::new(env!("CARGO_BIN_EXE_kiln"))
            .args(["machine", "delete", "--force"])
            .env("KILN_HOME", reading.home.path())
            .output()
            .expect("it starts")
    };
    let refused = delete();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && error.contains("is in use"),
        "{refused:?}"
    );
    assert!(machine.join("settings.json").exists());
    reading.supervisor.kill().expect("it lives");
    reading.supervisor.wait().expect("it ends");
    let done = delete();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    let rest: Vec<_> = std::fs::read_dir(machine).expect("a folder").collect();
    assert!(
        matches!(&*rest, [Ok(entry)] if entry.file_name() == "lock"),
        "{rest:?}"
    );
    let none = String::from_utf8(delete().stderr).expect("UTF-8");
    assert!(none.contains("there is no software machine"), "{none}");
}
