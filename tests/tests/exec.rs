//! `kiln exec` is a real stream.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use kiln_tests::Home;

#[test]
fn hazard_exec_returns_though_its_input_stays_open() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    let mut child = home
        .command(&["exec", guest.id(), "--", "true"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    let input = child.stdin.take();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("kiln can be waited for") {
            break status;
        }
        assert!(
            start.elapsed() < Duration::from_secs(300),
            "exec hangs on its open input"
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success());
    drop(input);
}

#[test]
fn hazard_exec_hands_on_a_hundred_mebibytes_unchanged() {
    let home = Home::new();
    let guest = home.launch("tiny", &["--type", "t2.small"]);
    let sent =
        guest.says("dd if=/dev/urandom of=/tmp/blob bs=1M count=100 2>/dev/null; sha256sum < /tmp/blob");
    let got = home
        .kiln(&["exec", guest.id(), "--", "cat", "/tmp/blob"])
        .succeeds()
        .stdout;
    assert_eq!(got.len(), 100 << 20);
    let back = home
        .kiln_with(&["exec", guest.id(), "--", "sha256sum"], &got)
        .succeeds()
        .text();
    assert_eq!(back, sent);
}

#[test]
fn hazard_exec_shows_a_line_before_the_command_ends() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    let mut child = home
        .command(&[
            "exec",
            guest.id(),
            "--",
            "sh",
            "-c",
            "echo first; sleep 20; echo second; sleep 600",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || (lines.next().expect("a line").expect("text"), Instant::now());
    let ((first, came), (second, went)) = (next(), next());
    assert_eq!([first, second], ["first", "second"]);
    // Twenty seconds, of which a busy host may have taken some to hand on the first line.
    let gap = went.duration_since(came);
    assert!(
        gap >= Duration::from_secs(5),
        "the first line was held back: the second came {gap:?} after it"
    );
    assert!(
        child.try_wait().expect("kiln can be waited for").is_none(),
        "the lines came with the end of the command"
    );
    child.kill().expect("kiln can be killed");
    child.wait().expect("kiln ends");
}

#[test]
fn exec_has_the_statuses_of_a_shell() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    let status = |command: &[&str]| {
        let mut all = vec!["exec", guest.id(), "--"];
        all.extend(command);
        home.kiln(&all).status
    };
    assert_eq!(status(&["no-such-program"]), 127);
    assert_eq!(status(&["/etc/hostname"]), 126);
    assert_eq!(status(&["sh", "-c", "kill -TERM $$"]), 143);
    assert_eq!(home.kiln(&["exec", "no-such-instance", "--", "true"]).status, 125);
    assert_eq!(home.kiln(&["exec"]).status, 2);
}
