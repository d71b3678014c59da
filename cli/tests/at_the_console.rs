//! `kiln console` as a person meets it: on a terminal, at a guest that echoes.
//!
//! `make test` runs these on a host with a `/dev/kvm` here, else in the software machine.

mod micro;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use micro::{LONG, Micro, until};
use rustix::pty::OpenptFlags;

/// A command on a terminal of its own, which somebody types at.
struct Sitting {
    child: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    terminal: OwnedFd,
}

impl Sitting {
    fn down(mut command: Command) -> Self {
        let user = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        rustix::pty::grantpt(&user).expect("a terminal");
        rustix::pty::unlockpt(&user).expect("a terminal");
        let name = rustix::pty::ptsname(&user, Vec::new()).expect("its name");
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let terminal = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).expect("its other side");
        let stdio = || Stdio::from(terminal.try_clone().expect("descriptors are to be had"));
        let child = command
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("kiln starts");
        let keys = File::from(user);
        let mut shown = keys.try_clone().expect("descriptors are to be had");
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = shown.read(&mut piece) {
                if sender.send(piece[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            keys,
            screen,
            seen: String::new(),
            terminal,
        }
    }

    fn types(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).expect("the terminal takes keys");
    }

    /// Waits until `text` shows.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + LONG;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let came = self.screen.recv_timeout(left);
            assert!(came.is_ok(), "`{text}` does not show: {:?}", self.seen);
            self.seen
                .push_str(&String::from_utf8_lossy(&came.unwrap_or_default()));
        }
    }

    fn is_raw(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.terminal).expect("a terminal");
        !modes.local_modes.contains(rustix::termios::LocalModes::ICANON)
    }

    fn status(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn a_person_sits_down_at_the_console_types_and_leaves_by_the_key_that_was_told() {
    let guest = Micro::start();
    let mut sitting = Sitting::down(guest.command(&["console", guest.instance.as_str()]));
    sitting.shows(&format!(
        "hint: this is ttyS0 of {}: Ctrl-] leaves it",
        guest.instance.as_str()
    ));
    until("the terminal is raw", || sitting.is_raw());
    // Ctrl-C is the guest's, too.
    sitting.types(b"hello\x03");
    sitting.shows("hello\x03");
    let mut other = Sitting::down(guest.command(&["console", guest.instance.as_str(), "--escape", "^A"]));
    other.shows("Ctrl-A leaves it");
    until("the terminal is raw", || other.is_raw());
    sitting.types(b"both see this");
    sitting.shows("both see this");
    other.shows("both see this");
    sitting.types(b"\x1d");
    sitting.shows("hint: the instance runs on");
    assert_eq!(sitting.status(), Some(0));
    assert!(!sitting.is_raw(), "the terminal is as it was");
    other.types(b"\x01");
    assert_eq!(other.status(), Some(0));
    let log = guest
        .command(&["log", guest.instance.as_str()])
        .output()
        .expect("kiln runs");
    assert!(String::from_utf8_lossy(&log.stdout).contains("hello\x03both see this"));
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn a_console_ends_with_its_guest() {
    let guest = Micro::start();
    let mut sitting = Sitting::down(guest.command(&["console", guest.instance.as_str()]));
    sitting.shows("Ctrl-] leaves it");
    until("the terminal is raw", || sitting.is_raw());
    guest.kill();
    sitting.shows("hint: the guest has ended");
    assert_eq!(sitting.status(), Some(0));
    assert!(!sitting.is_raw());
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn a_console_without_a_terminal_prints_nothing_of_its_own_and_needs_no_key() {
    let guest = Micro::start();
    let mut child = guest
        .command(&["console", guest.instance.as_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    // The key is a byte like any other, and the end of the input ends nothing.
    let sent = b"a\x1db";
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(sent)
        .expect("it reads");
    let mut output = child.stdout.take().expect("a pipe");
    let mut came = [0; 3];
    output.read_exact(&mut came).expect("the echo comes");
    assert_eq!(&came, sent);
    guest.kill();
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(
        (ended.status.code(), ended.stderr.len()),
        (Some(0), 0),
        "{ended:?}"
    );
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn a_console_that_was_started_to_ignore_a_hang_up_outlives_one() {
    let guest = Micro::start();
    let console = guest.command(&["console", guest.instance.as_str()]);
    // As nohup does it.
    let mut ignoring = Command::new("sh");
    ignoring
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(console.get_program())
        .args(console.get_args())
        .envs(
            console
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let mut child = ignoring
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    let mut keys = child.stdin.take().expect("a pipe");
    let mut output = child.stdout.take().expect("a pipe");
    let mut echoes = |key: u8| {
        keys.write_all(&[key]).expect("it reads");
        let mut came = [0];
        output.read_exact(&mut came).expect("the echo comes");
        assert_eq!(came, [key]);
    };
    echoes(b'a');
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::HUP).expect("it runs");
    echoes(b'b');
    guest.kill();
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn what_goes_on_printing_ends_once_nobody_reads() {
    let guest = Micro::start();
    let id = guest.instance.as_str();
    for arguments in [
        &["log", "-f", id] as &[&str],
        &["stats", "--watch=1"],
        &["console", id],
    ] {
        let mut child = guest
            .command(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("kiln starts");
        drop(child.stdout.take());
        let mut ended = None;
        until(&format!("{arguments:?} ends"), || {
            ended = child.try_wait().expect("its status");
            ended.is_some()
        });
        assert_eq!(ended.and_then(|status| status.code()), Some(0), "{arguments:?}");
    }
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn an_instance_that_does_not_run_and_a_console_that_it_has_not_are_named() {
    let guest = Micro::start();
    let fails = |arguments: &[&str], text: &str| {
        let ended = guest.command(arguments).output().expect("kiln runs");
        let error = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.code() == Some(1) && error.contains(text), "{error}");
    };
    fails(
        &["console", guest.instance.as_str(), "--port", "tty1"],
        "this machine has ttyS0, hvc0",
    );
    guest.kill();
    fails(&["console", guest.instance.as_str()], "stopped");
}
