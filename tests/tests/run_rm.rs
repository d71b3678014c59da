//! `kiln run --rm IMAGE -- CMD` hands on the command's status and leaves nothing.

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use kiln_tests::{Guest, Home};

fn nothing_is_left(home: &Home) {
    assert_eq!(home.kiln(&["-q", "list"]).succeeds().text(), "");
    assert_eq!(home.kiln(&["-q", "volume", "list"]).succeeds().text(), "");
    home.is_whole();
}

#[test]
fn the_status_and_the_output_are_the_commands() {
    let home = Home::new();
    let run = home.kiln(&[
        "run",
        "--rm",
        "tiny",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 3",
    ]);
    assert_eq!((run.status, run.text().as_str()), (3, "out"));
    assert_eq!(run.stderr, "err\n", "nothing but the command's own");
    nothing_is_left(&home);
}

#[test]
fn input_reaches_the_command() {
    let home = Home::new();
    let run = home
        .kiln_with(&["run", "--rm", "tiny", "--", "tr", "a-z", "A-Z"], b"shout\n")
        .succeeds();
    assert_eq!(run.text(), "SHOUT");
    nothing_is_left(&home);
}

#[test]
fn an_interrupt_leaves_nothing_either() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        for pause in [1, 12] {
            let home = Home::new();
            let mut command = home.command(&["run", "--rm", "tiny", "--", "sleep", "600"]);
            // What runs in the background of a script, as this may, ignores SIGINT, and so would kiln.
            // SAFETY: between fork and exec one system call is made, which touches no memory.
            unsafe {
                command.pre_exec(|| {
                    libc::signal(libc::SIGINT, libc::SIG_DFL);
                    Ok(())
                })
            };
            let mut run = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("kiln starts");
            std::thread::sleep(Duration::from_secs(pause));
            // SAFETY: kill has no memory effects; the process is this test's own child, not yet waited for.
            unsafe { libc::kill(run.id().cast_signed(), signal) };
            let status = run.wait().expect("kiln ends");
            assert!(!status.success(), "an interrupted run does not succeed");
            nothing_is_left(&home);
        }
    }
}

#[test]
fn a_run_without_a_command_fails_where_its_machine_does_and_says_why() {
    let home = Home::new();
    let run = home
        .command(&["run", "--rm", "tiny"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    let mut id = String::new();
    while !id.starts_with("i-") {
        std::thread::sleep(Duration::from_millis(300));
        id = home
            .kiln(&["-q", "list", "--filter", "instance-state-name=running"])
            .succeeds()
            .text();
    }
    // SAFETY: kill has no memory effects; the process belongs to this test's instance.
    unsafe { libc::kill(Guest::new(&home, id).vmm(), libc::SIGKILL) };
    let ended = run.wait_with_output().expect("kiln ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.code() == Some(1) && said.contains("has ended: Server.InternalError"),
        "{said}"
    );
    nothing_is_left(&home);
}

#[test]
fn an_image_that_is_not_there_is_status_125() {
    let home = Home::new();
    home.kiln(&["run", "--rm", "no-such-image", "--", "true"])
        .fails(125, &["no-such-image"]);
    nothing_is_left(&home);
}
