//! `kiln console` at a real guest.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use kiln_tests::{Guest, Home};

/// `kiln console` on a terminal.
fn sit_down(home: &Home, guest: &Guest<'_>, options: &str) -> Child {
    on_a_terminal(home, &format!("console {} {options}", guest.id()))
}

/// `kiln` on a terminal of 50 rows and 132 columns, which script(1) makes.
fn on_a_terminal(home: &Home, arguments: &str) -> Child {
    let kiln = home.command(&[] as &[&str]);
    let line = format!(
        "stty rows 50 cols 132 && exec {} {arguments}",
        kiln.get_program().display()
    );
    Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("KILN_HOME", home.path())
        .env("KILN_ACCEL", "kvm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script(1) starts")
}

/// Sits down at the serial console and reads how to leave it: the process, and its keys.
fn at_the_serial_console(home: &Home, guest: &Guest<'_>) -> (Child, ChildStdin) {
    let mut child = sit_down(home, guest, "");
    shows(&mut child, "Ctrl-] leaves it");
    let keys = child.stdin.take().expect("a pipe");
    (child, keys)
}

/// Reads until a line holds `text`.
#[track_caller]
fn shows(child: &mut Child, text: &str) {
    let output = child.stdout.as_mut().expect("a pipe");
    let mut lines = BufReader::new(output).split(b'\n');
    let found = lines.any(|line| String::from_utf8_lossy(&line.expect("it can be read")).contains(text));
    assert!(found, "`{text}` does not show");
}

#[test]
fn a_shell_at_the_console_answers_and_the_guests_end_ends_it() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    let (mut child, mut keys) = at_the_serial_console(&home, &guest);
    // The shell's echo has the words apart.
    keys.write_all(b"\recho one''two\r").expect("it reads");
    shows(&mut child, "onetwo");
    home.kiln(&["stop", guest.id()]).succeeds();
    shows(&mut child, "the guest has ended");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_debian_has_a_shell_of_root_at_its_console() {
    let home = Home::new();
    let guest = home.launch("debian", &[]);
    let (mut child, mut keys) = at_the_serial_console(&home, &guest);
    // A key that was pressed before the login began is lost with it.
    guest
        .exec("for i in $(seq 600); do pgrep -t ttyS0 bash && exit; sleep 0.1; done; exit 1")
        .succeeds();
    keys.write_all(b"\recho $USER''@$(tty)\r").expect("it reads");
    shows(&mut child, "root@/dev/ttyS0");
    keys.write_all(b"\x1d").expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn the_virtio_console_has_the_size_of_the_terminal() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    // Linux keeps a size only for a terminal that somebody has open.
    guest.says("(sleep 600 < /dev/hvc0 > /dev/null 2>&1 &)");
    let mut child = sit_down(&home, &guest, "--port hvc0");
    shows(&mut child, "this is hvc0");
    let size = guest.says("for i in $(seq 100); do s=$(stty size < /dev/hvc0); [ \"$s\" = '50 132' ] && break; sleep 0.1; done; echo $s");
    assert_eq!(size, "50 132");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"\x1d")
        .expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn the_log_on_a_terminal_has_nothing_that_the_terminal_would_answer() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    guest
        .exec("printf 'where\\033[6n is\\033]0;title\\007 the cursor\\n' > /dev/console")
        .succeeds();
    let log = home.kiln(&["log", guest.id()]).succeeds();
    assert!(
        log.text().contains("where\x1b[6n is\x1b]0;title\x07 the cursor"),
        "a program gets what the guest printed"
    );
    let shown = on_a_terminal(&home, &format!("log {}", guest.id()));
    let shown = shown.wait_with_output().expect("it ends").stdout;
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("where is the cursor"), "{shown:?}");
    assert!(!shown.contains("\x1b[6n") && !shown.contains('\x07'), "{shown:?}");
}
