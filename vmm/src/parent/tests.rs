//! The two processes for real, with a VMM that is a closure. The test forks what `run` is called
//! in, so that the harness's own threads and descriptors stay out of it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::link::Order;
use super::ready::ReadyLine;
use super::*;
use crate::client;
use crate::sandbox::{self, ThreadKind};

const LONG: Duration = Duration::from_secs(120);

/// A machine started by [`run`] in the background.
struct Started {
    folder: tempfile::TempDir,
    line: Option<ReadyLine>,
}

impl Started {
    fn new(vmm: impl FnOnce(Child) -> Result<ExitRecord, StartError>) -> Self {
        Self::at(tempfile::tempdir().unwrap(), vmm)
    }

    fn at(folder: tempfile::TempDir, vmm: impl FnOnce(Child) -> Result<ExitRecord, StartError>) -> Self {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        // SAFETY: the child leaves by _exit and uses nothing of the harness.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(reader);
            let code = run(folder.path(), Some(writer), vmm);
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(code != ExitCode::SUCCESS)) };
        }
        drop(writer);
        let mut status = 0;
        // SAFETY: waits for the launcher, which goes at once; status is a valid place.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        Self {
            folder,
            line: serde_json::from_str(&text).ok(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn note(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn signal(&self, who: &str, signal: i32) {
        let pid: i32 = self.note(who).parse().unwrap();
        // SAFETY: a signal to a process that this test started.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "{who}");
    }

    fn record(&self) -> ExitRecord {
        client::wait_exit(self.path(), LONG)
            .unwrap()
            .expect("it has ended")
    }
}

/// Leaves the ids of both processes in the folder, says that it is ready, and obeys the parent.
fn obedient(child: Child) -> Result<ExitRecord, StartError> {
    note(&child.dir, "vmm", &std::process::id().to_string());
    let parent = rustix::process::getppid().unwrap().as_raw_nonzero();
    note(&child.dir, "parent", &parent.to_string());
    child.parent.resets(4);
    child.ready.ready(BootInfo {
        cmdline: "quiet".to_owned(),
        ..BootInfo::default()
    });
    match child.parent.next_order() {
        Some(Order::PowerButton) => Ok(ExitRecord::now(ExitReason::Shutdown, "the button", 4)),
        _ => Ok(ExitRecord::now(ExitReason::Killed, "ordered", 4)),
    }
}

fn note(dir: &InstanceDir, name: &str, text: &str) {
    std::fs::write(dir.path().join(name), text).unwrap();
}

#[test]
fn a_machine_runs_in_the_background_and_ends_by_the_button() {
    let machine = Started::new(obedient);
    let Some(ReadyLine::Ready(ready)) = &machine.line else {
        panic!("{:?}", machine.line)
    };
    assert_eq!(ready.boot.cmdline, "quiet");
    assert!(client::is_running(machine.path()).unwrap());
    machine.signal("parent", libc::SIGTERM);
    let record = machine.record();
    assert_eq!((record.reason, record.resets), (ExitReason::Shutdown, 4));
    assert!(!client::is_running(machine.path()).unwrap());
}

#[test]
fn hazard_a_machine_whose_starter_was_killed_before_it_had_the_lock_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    // SAFETY: the child leaves by _exit and uses nothing of the harness.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // Made here: no process that another test forks has a copy of the end that is read.
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let code = run(folder.path(), Some(writer), obedient);
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(code != ExitCode::SUCCESS)) };
    }
    let mut status = 0;
    // SAFETY: waits for the launcher, which goes at once; status is a valid place.
    unsafe { libc::waitpid(pid, &mut status, 0) };
    let deadline = Instant::now() + LONG;
    let record = loop {
        if let Some(record) = client::wait_exit(folder.path(), Duration::ZERO).unwrap() {
            break record;
        }
        if folder.path().join("vmm").exists() {
            client::kill_by_force(folder.path()).unwrap();
            panic!("it runs");
        }
        assert!(Instant::now() < deadline, "it neither runs nor ends");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(record.detail.contains("who started it is gone"), "{record:?}");
}

#[test]
fn hazard_a_killed_vmm_leaves_a_record() {
    let machine = Started::new(obedient);
    machine.signal("vmm", libc::SIGKILL);
    let record = machine.record();
    assert_eq!((record.reason, record.resets), (ExitReason::Killed, 4));
    assert!(machine.path().join("exit.json").exists());
}

#[test]
fn hazard_a_killed_parent_takes_the_vmm_along_and_the_lock_is_free() {
    let machine = Started::new(obedient);
    machine.signal("parent", libc::SIGKILL);
    let record = machine.record();
    assert_eq!(record.reason, ExitReason::Killed);
    assert!(!machine.path().join("exit.json").exists());
    let vmm = machine.note("vmm");
    let gone = || !Path::new(&format!("/proc/{vmm}/exe")).exists();
    let deadline = Instant::now() + LONG;
    while !gone() {
        assert!(Instant::now() < deadline, "the VMM lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn hazard_a_file_that_may_not_grow_is_an_error_and_ends_no_vmm() {
    let machine = Started::new(|child| {
        let file = std::fs::File::create(child.dir.path().join("disk")).unwrap();
        let limit = rustix::process::Rlimit {
            current: Some(4096),
            maximum: Some(4096),
        };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        let error = rustix::io::pwrite(&file, b"x", 4096).unwrap_err();
        Ok(ExitRecord::now(ExitReason::Shutdown, format!("{error:?}"), 0))
    });
    let record = machine.record();
    assert_eq!(record.reason, ExitReason::Shutdown);
    assert!(record.detail.contains("FileTooLarge"), "{record:?}");
}

#[test]
fn a_signal_that_kills_the_vmm_is_named_in_the_record() {
    let machine = Started::new(obedient);
    machine.signal("vmm", libc::SIGILL);
    let record = machine.record();
    assert_eq!(record.reason, ExitReason::VmmError);
    assert!(record.detail.contains("SIGILL"), "{}", record.detail);
}

#[test]
fn a_forbidden_call_and_a_panic_are_named_in_the_record() {
    let machine = Started::new(|child| {
        child.ready.ready(BootInfo::default());
        sandbox::enter().unwrap();
        sandbox::confine(ThreadKind::Vcpu).unwrap();
        // SAFETY: a call without pointers, which does not return.
        unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
        unreachable!("the call is forbidden")
    });
    let record = machine.record();
    assert_eq!(record.reason, ExitReason::VmmError);
    assert!(
        record.detail.contains("`socket`") && record.detail.contains("vcpu"),
        "{}",
        record.detail
    );

    let machine = Started::new(|child| {
        child.ready.ready(BootInfo::default());
        sandbox::enter().unwrap();
        assert!(!sandbox::is_entered(), "the plan worked");
        unreachable!("it did not")
    });
    let record = machine.record();
    assert_eq!(record.reason, ExitReason::VmmError);
    assert!(record.detail.contains("the plan worked"), "{}", record.detail);
}

#[test]
fn a_machine_that_does_not_start_says_why_to_its_starter_and_in_the_record() {
    let machine = Started::new(|_| Err(StartError::new("boot", "no kernel on the disk")));
    let error = StartError::new("boot", "no kernel on the disk");
    assert_eq!(machine.line, Some(ReadyLine::Error(error)));
    let record = machine.record();
    assert_eq!(record.reason, ExitReason::VmmError);
    assert!(record.detail.contains("no kernel on the disk"));
}

#[test]
fn a_folder_has_one_machine() {
    let machine = Started::new(obedient);
    let Started { folder, .. } = machine;
    let second = Started::at(folder, obedient);
    let Some(ReadyLine::Error(error)) = &second.line else {
        panic!("{:?}", second.line)
    };
    assert_eq!(error.kind, "locked");
    second.signal("parent", libc::SIGTERM);
    assert_eq!(second.record().reason, ExitReason::Shutdown);
}

#[test]
fn an_old_record_is_gone_once_a_new_machine_runs() {
    let folder = tempfile::tempdir().unwrap();
    let dir = InstanceDir::open(folder.path()).unwrap();
    let room = ExitRecord::reserve(&dir).unwrap();
    ExitRecord::now(ExitReason::GuestCrash, "of long ago", 0)
        .write(&dir, room)
        .unwrap();
    let machine = Started::at(folder, obedient);
    machine.signal("vmm", libc::SIGKILL);
    assert_eq!(machine.record().reason, ExitReason::Killed);
}

#[test]
fn a_machine_that_answers_nobody_can_be_killed_by_its_folder() {
    let machine = Started::new(|child| {
        note(&child.dir, "vmm", &std::process::id().to_string());
        child.ready.ready(BootInfo::default());
        loop {
            std::thread::sleep(LONG);
        }
    });
    client::kill_by_force(machine.path()).unwrap();
    assert_eq!(machine.record().reason, ExitReason::Killed);
    client::kill_by_force(machine.path()).unwrap();
}

#[test]
fn hazard_no_descriptor_of_the_starter_leaks_and_the_session_is_another() {
    // Files of the starter that an exec would hand on, as careless programs have them.
    let careless = tempfile::NamedTempFile::new().unwrap();
    rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).unwrap();
    let leaked = careless.path().to_owned();
    assert!(careless.as_raw_fd() > 2);
    let machine = Started::new(move |child| {
        let open: Vec<PathBuf> = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap_or_default())
            .collect();
        let open: Vec<String> = open.iter().map(|path| path.display().to_string()).collect();
        note(&child.dir, "open", &open.join("\n"));
        let session = rustix::process::getsid(None).unwrap().as_raw_nonzero();
        note(&child.dir, "session", &session.to_string());
        obedient(child)
    });
    let dir = machine.path().display().to_string();
    for file in machine.note("open").lines() {
        let own = file.starts_with(&dir)
            || file == "/dev/null"
            || file.starts_with("pipe:")
            || file.starts_with("socket:")
            || file.starts_with("/proc/")
            || file.is_empty();
        assert!(
            own && file != leaked.display().to_string(),
            "{file} is open in the VMM"
        );
    }
    assert_eq!(
        machine
            .note("open")
            .lines()
            .filter(|file| file.starts_with("socket:"))
            .count(),
        1
    );
    assert_eq!(machine.note("session"), machine.note("parent"));
    machine.signal("parent", libc::SIGTERM);
    machine.record();
}
