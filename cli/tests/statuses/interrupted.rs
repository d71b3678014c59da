//! Copies that a signal meets half-way.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::kiln::Kiln;

/// Starts a command and sends it a signal while a file whose path has `part` in it is being written; nothing if it had
/// ended before. Not SIGINT: what runs in the background of a script ignores it, and this may.
fn interrupted(kiln: &Kiln, mut command: Command, signal: Signal, part: &str) -> Option<Output> {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let process = Pid::from_child(&child);
    let seen = |what: WaitIdOptions| {
        waitid(WaitId::Pid(process), what | WaitIdOptions::NOWAIT).expect("it has not been waited for")
    };
    let began = Instant::now();
    while !files(kiln.home.path())
        .iter()
        .any(|(path, length)| path.contains(part) && *length > 1 << 20)
        && seen(WaitIdOptions::EXITED | WaitIdOptions::NOHANG).is_none()
    {
        assert!(began.elapsed().as_secs() < 120, "nothing was written");
        std::thread::sleep(Duration::from_millis(1));
    }
    let send = |signal: Signal| kill_process(process, signal).expect("it has not been waited for");
    // Held, it cannot end before the signal is sent.
    send(Signal::STOP);
    let is_held = seen(WaitIdOptions::EXITED | WaitIdOptions::STOPPED).is_some_and(|status| status.stopped());
    if is_held {
        send(signal);
        send(Signal::CONT);
    }
    let ended = child.wait_with_output().expect("it ends");
    is_held.then_some(ended)
}

/// What comes of the first try that is not too late, of five.
fn in_time<T>(mut once: impl FnMut() -> Option<T>) -> T {
    (0..5)
        .find_map(|_| once())
        .expect("it ended too early five times")
}

/// Deregisters the image `disk`, and its file goes.
fn forget(kiln: &Kiln) {
    let gone = kiln.run(&["image", "deregister", "disk", "--delete-snapshots"]);
    assert_eq!(gone.status, 0, "{gone:?}");
    let left = files(kiln.home.path());
    assert!(!left.iter().any(|(path, _)| path.ends_with(".qcow2")), "{left:?}");
}

/// All files below a folder, and how long they are.
fn files(folder: &std::path::Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(is) if is.is_dir() => found.extend(files(&entry.path())),
            Ok(is) => found.push((entry.path().display().to_string(), is.len())),
            // Gone meanwhile.
            Err(_) => {}
        }
    }
    found
}

#[test]
fn a_copy_that_is_interrupted_says_what_becomes_of_it_and_leaves_nothing() {
    let kiln = Kiln::new();
    let disk = kiln.home.path().join("disk.raw");
    std::fs::write(&disk, vec![0xa5; 256 << 20]).expect("written");
    let count = || {
        files(kiln.home.path())
            .iter()
            .filter(|(path, _)| path.ends_with(".qcow2"))
            .count()
    };

    // A signal may also be heeded too late.
    let was_cut = |ended: &Output| !ended.status.success();
    let cut = in_time(|| {
        let import = kiln.command(&["image", "import", "disk.raw", "--name", "disk"]);
        let cut = interrupted(&kiln, import, Signal::TERM, ".qcow2").filter(was_cut);
        if cut.is_none() {
            forget(&kiln);
        }
        cut
    });
    assert_eq!(cut.status.signal(), Some(15), "{cut:?}");
    let said = String::from_utf8_lossy(&cut.stderr).into_owned();
    assert!(
        said.contains("interrupted: the next command removes what was copied"),
        "{said}"
    );
    assert_eq!(kiln.run(&["-q", "image", "list"]).out, "");
    assert_eq!(count(), 0);

    kiln.run(&["image", "import", "disk.raw", "--name", "disk"]);
    assert_eq!(count(), 1);
    let cut = in_time(|| {
        let _ = std::fs::remove_file(kiln.home.path().join("out.raw"));
        let export = kiln.command(&["image", "export", "disk", "out.raw"]);
        interrupted(&kiln, export, Signal::TERM, "/.out.raw.").filter(was_cut)
    });
    assert_eq!(cut.status.signal(), Some(15), "{cut:?}");
    let left: Vec<_> = files(kiln.home.path())
        .into_iter()
        .filter(|(path, _)| path.contains("out.raw"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_copy_that_was_started_to_ignore_a_hang_up_outlives_one() {
    let kiln = Kiln::new();
    std::fs::write(kiln.home.path().join("disk.raw"), vec![0xa5; 256 << 20]).expect("written");
    // As nohup does it.
    let ignoring = [
        "sh",
        "-c",
        "trap '' HUP; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_kiln"),
    ];
    let import = ["image", "import", "disk.raw", "--name", "disk"];
    let ended = in_time(|| {
        let import = kiln.program(&[&ignoring[..], &import].concat());
        let ended = interrupted(&kiln, import, Signal::HUP, ".qcow2");
        if ended.is_none() {
            forget(&kiln);
        }
        ended
    });
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}
