//! Commands through daemon, mux and client: streams, status, signals, terminals.

mod common;

use common::{Guest, SOON, command, until};
use kiln_agent::client::{
    Agent, AgentError, ExecRequest, ExecStatus, Signals, Size, Streams, Terminal, Unread,
};
use kiln_agent::frame::{Kind, encode, encode_data, encode_message};
use kiln_agent::message::Exit;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[test]
fn output_errors_and_status_come_back() {
    let guest = Guest::start();
    let done = guest.sh("echo out; echo err >&2; exit 7");
    assert_eq!((&*done.stdout, &*done.stderr), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(done.status, ExecStatus::Exited(7));
}

#[test]
fn a_signal_is_a_status_of_its_own() {
    let status = Guest::start().sh("kill -9 $$").status;
    assert_eq!(status, ExecStatus::Signaled(9));
    assert_eq!(status.code(), 137);
}

#[test]
fn what_is_not_there_is_127_and_what_is_no_program_126() {
    let guest = Guest::start();
    let run = |argv: &[&str]| {
        guest
            .agent()
            .exec(command(argv))
            .unwrap()
            .capture(b"", SOON)
            .unwrap()
            .status
    };
    let missing = run(&["no-such-command"]);
    assert!(
        matches!(&missing, ExecStatus::NotFound(why) if why.contains("no-such-command")),
        "{missing:?}"
    );
    assert_eq!(missing.code(), 127);
    assert_eq!(run(&["/etc/passwd"]).code(), 126);
    assert_eq!(run(&["/"]).code(), 126);
    assert_eq!(run(&[]).code(), 125);
    let nowhere = ExecRequest {
        cwd: Some("/no/such/place".into()),
        ..command(&["true"])
    };
    let status = guest
        .agent()
        .exec(nowhere)
        .unwrap()
        .capture(b"", SOON)
        .unwrap()
        .status;
    assert!(
        matches!(&status, ExecStatus::Failed(why) if why.contains("/no/such/place")),
        "{status:?}"
    );
    let nobody = ExecRequest {
        user: Some("no-such-user".into()),
        ..command(&["true"])
    };
    assert_eq!(
        guest
            .agent()
            .exec(nobody)
            .unwrap()
            .capture(b"", SOON)
            .unwrap()
            .status
            .code(),
        125
    );
}

#[test]
fn environment_and_directory_are_as_asked() {
    let guest = Guest::start();
    let odd = std::ffi::OsString::from_vec(vec![b'x', 0xff]);
    let request = ExecRequest {
        env: vec![("KILN_TEST".into(), odd)],
        cwd: Some("/usr".into()),
        ..command(&[
            "sh",
            "-c",
            "pwd; printf %s \"$KILN_TEST\"; test -n \"$HOME\" -a -n \"$PATH\"",
        ])
    };
    let done = guest.agent().exec(request).unwrap().capture(b"", SOON).unwrap();
    assert_eq!(done.stdout, b"/usr\nx\xff");
    assert_eq!(done.status, ExecStatus::Exited(0));
}

#[test]
fn a_long_environment_fits() {
    let env = (0..2000)
        .map(|n| (format!("V{n}").into(), "y".repeat(40).into()))
        .collect();
    let request = ExecRequest {
        env,
        ..command(&["sh", "-c", "env | grep -c ^V"])
    };
    let done = Guest::start()
        .agent()
        .exec(request)
        .unwrap()
        .capture(b"", SOON)
        .unwrap();
    assert_eq!(done.stdout, b"2000\n");
}

#[test]
fn hazard_exec_cuts_output() {
    // 100 MiB through both directions at once, equal at the end.
    let guest = Guest::start();
    let (mut near, far) = UnixStream::pair().unwrap();
    let (mut back, out) = std::io::pipe().unwrap();
    let block: Vec<u8> = (0..1u32 << 18)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let sent = block.clone();
    std::thread::spawn(move || (0..100).for_each(|_| near.write_all(&sent).unwrap()));
    let reader = std::thread::spawn(move || {
        let (mut piece, mut count) = (vec![0; block.len()], 0);
        while back.read_exact(&mut piece).is_ok() {
            assert!(piece == block, "block {count} differs");
            count += 1;
        }
        count
    });
    let session = guest.agent().exec(command(&["cat"])).unwrap();
    let streams = Streams {
        stdin: Some(far.as_fd()),
        stdout: out.as_fd(),
        ..Streams::own()
    };
    assert_eq!(session.run(streams).unwrap(), ExecStatus::Exited(0));
    drop(out);
    assert_eq!(reader.join().unwrap(), 100);
}

#[test]
fn hazard_exec_hangs_on_an_open_stdin() {
    let guest = Guest::start();
    let (_held, stdin) = UnixStream::pair().unwrap();
    let session = guest.agent().exec(command(&["true"])).unwrap();
    let streams = Streams {
        stdin: Some(stdin.as_fd()),
        ..Streams::own()
    };
    assert_eq!(session.run(streams).unwrap(), ExecStatus::Exited(0));
}

#[test]
fn hazard_exec_shows_nothing_before_the_end() {
    let guest = Guest::start();
    // The command ends with its input, which is held here until the line was seen.
    let (held, stdin) = UnixStream::pair().unwrap();
    let (mut back, out) = std::io::pipe().unwrap();
    let script = "echo now; cat >/dev/null";
    let session = guest.agent().exec(command(&["sh", "-c", script])).unwrap();
    let run = std::thread::spawn(move || {
        session
            .run(Streams {
                stdin: Some(stdin.as_fd()),
                stdout: out.as_fd(),
                ..Streams::own()
            })
            .unwrap()
    });
    let (seen, sight) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = [0; 4];
        seen.send(back.read_exact(&mut line).map(|()| line))
    });
    let line = sight.recv_timeout(SOON).expect("the line comes before the end");
    assert_eq!(&line.unwrap(), b"now\n");
    assert!(!run.is_finished());
    drop(held);
    assert_eq!(run.join().unwrap(), ExecStatus::Exited(0));
}

#[test]
fn output_that_cannot_be_written_here_is_no_failure_of_the_connection() {
    let guest = Guest::start();
    let session = guest.agent().exec(command(&["echo", "lost"])).unwrap();
    let full = std::fs::File::create("/dev/full").unwrap();
    let ended = session.run(Streams {
        stdin: None,
        stdout: full.as_fd(),
        ..Streams::own()
    });
    assert!(
        matches!(&ended, Err(AgentError::Output { lost, .. }) if lost == b"lost\n"),
        "{ended:?}"
    );
}

#[test]
fn a_command_whose_output_nobody_reads_goes_on_or_ends_as_its_caller_wants() {
    let guest = Guest::start();
    let broken = ExecStatus::Signaled(libc::SIGPIPE);
    for (unread, script, expected) in [
        (Unread::BreaksPipe, "yes", broken),
        (
            Unread::GoesOn,
            "yes | head -c 1000000; exit 3",
            ExecStatus::Exited(3),
        ),
        (Unread::IsDone, "yes", ExecStatus::Exited(0)),
        // It prints nothing at all.
        (Unread::IsDone, "sleep 600", ExecStatus::Exited(0)),
    ] {
        let (_, out) = std::io::pipe().unwrap();
        let session = guest.agent().exec(command(&["sh", "-c", script])).unwrap();
        let ended = session.run(Streams {
            stdin: None,
            stdout: out.as_fd(),
            unread,
            ..Streams::own()
        });
        assert_eq!(ended.unwrap(), expected, "{unread:?}: {script}");
    }
}

#[test]
fn what_was_received_is_written_before_it_is_said_that_the_guest_is_gone() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let session = Agent::connect(near).exec(command(&["seq"])).unwrap();
    let (mut back, out) = std::io::pipe().unwrap();
    let run = std::thread::spawn(move || {
        session.run(Streams {
            stdin: None,
            stdout: out.as_fd(),
            ..Streams::own()
        })
    });
    // More than a pipe takes that nobody reads yet.
    let sent: Vec<u8> = (0..96 << 10).map(|n: u32| n.to_le_bytes()[1]).collect();
    let mut frames = Vec::new();
    encode_data(&mut frames, 0, Kind::Stdout, &sent);
    encode(&mut frames, 0, Kind::Close, &[]);
    far.write_all(&frames).unwrap();
    drop(far);
    let mut came = Vec::new();
    back.read_to_end(&mut came).unwrap();
    assert!(came == sent, "{} of {} bytes", came.len(), sent.len());
    let ended = run.join().unwrap();
    assert!(matches!(ended, Err(AgentError::Gone)), "{ended:?}");
}

/// Signals go to the whole process: one test at a time catches them.
static CATCHES: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn a_signal_ends_what_only_waits_for_a_reader() {
    let _alone = CATCHES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for is_gone in [true, false] {
        let (near, mut far) = UnixStream::pair().unwrap();
        let session = Agent::connect(near).exec(command(&["seq"])).unwrap();
        let (_unread, out) = std::io::pipe().unwrap();
        let signals = Signals::catch().unwrap();
        let run = std::thread::spawn(move || {
            session.run(Streams {
                stdin: None,
                stdout: out.as_fd(),
                signals: Some(&signals),
                ..Streams::own()
            })
        });
        let mut frames = Vec::new();
        encode_data(&mut frames, 0, Kind::Stdout, &[0; 96 << 10]);
        if is_gone {
            encode(&mut frames, 0, Kind::Close, &[]);
        } else {
            encode_message(&mut frames, 0, Kind::Exit, &Exit::Code(0)).unwrap();
        }
        far.write_all(&frames).unwrap();
        drop(far);
        // One that comes too early is the command's.
        until("it ends", || {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::USR1).unwrap();
            run.is_finished()
        });
        let ended = run.join().unwrap();
        if is_gone {
            assert!(matches!(ended, Err(AgentError::Gone)), "{ended:?}");
        } else {
            assert_eq!(ended.unwrap(), ExecStatus::Signaled(libc::SIGUSR1));
        }
    }
}

#[test]
fn hazard_a_guest_that_hangs_holds_nobody_who_insists() {
    let _alone = CATCHES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // The guest is there, and does nothing any more.
    let (near, _far) = UnixStream::pair().unwrap();
    let session = Agent::connect(near).exec(command(&["sleep"])).unwrap();
    let signals = Signals::catch().unwrap();
    let run = std::thread::spawn(move || {
        session.run(Streams {
            stdin: None,
            signals: Some(&signals),
            ..Streams::own()
        })
    });
    // What is run by nohup ignores hang-ups; in the background of a script, interrupts.
    until("it ends", || {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
        run.is_finished()
    });
    assert_eq!(run.join().unwrap().unwrap(), ExecStatus::Signaled(libc::SIGTERM));
}

#[test]
fn a_background_child_does_not_hold_up_the_end() {
    let start = Instant::now();
    let done = Guest::start().sh("sleep 1000 & echo started");
    assert_eq!(done.stdout, b"started\n");
    assert!(start.elapsed() < Duration::from_secs(300));
}

#[test]
fn the_resync_marker_passes_as_data() {
    let marker = kiln_agent::frame::RESYNC;
    let data: Vec<u8> = marker
        .iter()
        .copied()
        .cycle()
        .take(400_000)
        .chain(marker)
        .collect();
    let done = Guest::start()
        .agent()
        .exec(command(&["cat"]))
        .unwrap()
        .capture(&data, SOON)
        .unwrap();
    assert!(
        done.stdout == data,
        "{} bytes of {}",
        done.stdout.len(),
        data.len()
    );
}

#[test]
fn a_command_whose_client_vanished_is_ended_with_its_children() {
    let guest = Guest::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let script = format!(
        "sleep 1000 & echo $$ $! > {0}.new; mv {0}.new {0}; wait",
        file.display()
    );
    let session = guest.agent().exec(command(&["sh", "-c", &script])).unwrap();
    until("the command starts", || file.exists());
    let pids = std::fs::read_to_string(&file).unwrap();
    drop(session);
    for pid in pids.split_whitespace() {
        let stat = format!("/proc/{pid}/stat");
        let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        until("it ends", gone);
    }
}

#[test]
fn two_commands_run_at_once_and_a_slow_reader_stops_only_its_own() {
    let guest = Guest::start();
    // Nobody reads this one's output: it stands still after a window.
    let _stuck = guest.agent().exec(command(&["sh", "-c", "yes"])).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let done = guest
        .agent()
        .exec(command(&["head", "-c", "20000000", "/dev/zero"]))
        .unwrap();
    assert_eq!(done.capture(b"", SOON).unwrap().stdout.len(), 16 << 20);
    assert_eq!(guest.sh("echo still here").stdout, b"still here\n");
}

#[test]
fn a_command_on_a_terminal_sees_its_size_and_its_keys() {
    let guest = Guest::start();
    let tty = Terminal {
        size: Size { rows: 17, cols: 93 },
        term: "vt100".into(),
    };
    let script = "tty >/dev/null && stty size; echo $TERM; read line; echo \"[$line]\"; cat";
    let request = ExecRequest {
        tty: Some(tty),
        ..command(&["sh", "-c", script])
    };
    let done = guest
        .agent()
        .exec(request)
        .unwrap()
        .capture(b"typed\n", SOON)
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(
        text.contains("17 93") && text.contains("vt100") && text.contains("[typed]"),
        "{text:?}"
    );
    assert_eq!(done.status, ExecStatus::Exited(0), "{text:?}");
}

#[test]
fn all_output_of_a_terminal_comes_before_its_end() {
    let guest = Guest::start();
    for _ in 0..5 {
        let tty = Terminal {
            size: Size { rows: 24, cols: 80 },
            term: "dumb".into(),
        };
        let request = ExecRequest {
            tty: Some(tty),
            ..command(&["sh", "-c", "seq 1 20000"])
        };
        let done = guest.agent().exec(request).unwrap().capture(b"", SOON).unwrap();
        assert!(done.stdout.ends_with(b"20000\r\n"), "{} bytes", done.stdout.len());
    }
}

#[test]
fn the_rest_of_a_terminals_output_waits_for_a_slow_reader() {
    // With the headers of its frames more than may be sent unread: the rest is in the terminal at the command's end.
    const SENT: usize = kiln_agent::window::WINDOW as usize;
    let guest = Guest::start();
    let directory = tempfile::tempdir().unwrap();
    let ended = directory.path().join("ended");
    let script = format!("head -c {SENT} /dev/zero; touch {}", ended.display());
    let tty = Terminal {
        size: Size { rows: 24, cols: 80 },
        term: "dumb".into(),
    };
    let request = ExecRequest {
        tty: Some(tty),
        ..command(&["sh", "-c", &script])
    };
    let session = guest.agent().exec(request).unwrap();
    let (mut back, out) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&out, 4096).unwrap();
    let run = std::thread::spawn(move || {
        session.run(Streams {
            stdin: None,
            stdout: out.as_fd(),
            ..Streams::own()
        })
    });
    until("the command ends", || ended.exists());
    std::thread::sleep(Duration::from_millis(300));
    let mut came = Vec::new();
    back.read_to_end(&mut came).unwrap();
    assert_eq!(came.len(), SENT);
    assert_eq!(run.join().unwrap().unwrap(), ExecStatus::Exited(0));
}

#[test]
fn a_command_that_takes_too_long_is_asked_to_end_and_that_is_its_status() {
    let guest = Guest::start();
    let (null, (mut heard, said)) = (
        std::fs::File::open("/dev/null").unwrap(),
        std::io::pipe().unwrap(),
    );
    let run = |script: &str, at_most| {
        let session = guest.agent().exec(command(&["sh", "-c", script])).unwrap();
        session
            .run(Streams {
                stdin: Some(null.as_fd()),
                stdout: said.as_fd(),
                stderr: said.as_fd(),
                at_most: Some(at_most),
                ..Streams::own()
            })
            .unwrap()
    };
    let in_time = run("exit 3", SOON);
    assert_eq!(in_time, ExecStatus::Exited(3));
    let late = run(
        "trap 'echo asked; exit 0' TERM; echo begun; sleep 600 & wait",
        Duration::from_secs(1),
    );
    assert_eq!(
        (late.code(), late.message()),
        (124, Some("the command did not end within 1 s"))
    );
    drop(said);
    let mut words = String::new();
    heard.read_to_string(&mut words).unwrap();
    assert_eq!(words, "begun\nasked\n");
}

#[test]
fn a_command_that_does_not_heed_the_request_to_end_is_killed() {
    let guest = Guest::start();
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let session = guest
        .agent()
        .exec(command(&["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]))
        .unwrap();
    let began = Instant::now();
    let late = session.run(Streams {
        stdin: Some(null.as_fd()),
        stdout: null.as_fd(),
        stderr: null.as_fd(),
        at_most: Some(Duration::from_millis(100)),
        ..Streams::own()
    });
    assert!(matches!(late.unwrap(), ExecStatus::TimedOut(_)));
    assert!(began.elapsed() > Duration::from_secs(9), "it was given time");
}
