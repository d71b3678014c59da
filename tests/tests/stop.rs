//! How a guest ends: cleanly if it can, by force by the deadline, and never silently by force. And how others see it.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::{Home, Outcome};

/// Starts a `kiln` command that goes on while the test does something else.
fn begin(home: &Home, arguments: &[&str]) -> Child {
    let mut command = home.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

/// The end of such a command.
fn end(command: Child) -> Outcome {
    let output = command.wait_with_output().expect("it ends");
    Outcome {
        command: "one in the background".to_owned(),
        status: output.status.code().expect("it was not killed"),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        instances: std::path::PathBuf::new(),
    }
}

#[test]
fn hazard_a_guest_with_the_agent_stops_cleanly() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    let stop = home.kiln(&["stop", guest.id()]).succeeds();
    assert!(!stop.stderr.contains("force"), "a clean stop: {}", stop.stderr);
    assert_eq!(guest.state(), "stopped");
}

#[test]
fn hazard_a_guest_that_ignores_everything_is_stopped_by_force_and_it_is_said() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    // Who holds the agent never hears that it is done: the console says so.
    let hold = "killall -STOP kiln-agent; echo the agent is held >/dev/console";
    let mut holding = begin(&home, &["exec", guest.id(), "--", "sh", "-c", hold]);
    let began = Instant::now();
    while !guest.log().contains("the agent is held") {
        assert!(began.elapsed() < Duration::from_secs(120), "{}", guest.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    holding.kill().expect("it waits yet");
    holding.wait().expect("it ends");
    let stop = home.kiln(&["stop", guest.id(), "--timeout", "5"]).succeeds();
    assert!(
        stop.stderr.contains("warning: ") && stop.stderr.contains("force"),
        "it is said: {}",
        stop.stderr
    );
    assert_eq!(guest.state(), "stopped");
    home.is_whole();
}

#[test]
fn stop_with_force_does_not_wait() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    home.kiln(&["stop", guest.id(), "--force"]).succeeds();
    assert_eq!(guest.state(), "stopped");
    home.kiln(&["start", guest.id()]).succeeds();
    assert_eq!(guest.says("echo back"), "back");
}

#[test]
fn the_log_is_the_console_and_following_it_ends_with_the_guest() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    guest.exec("echo the first words > /dev/console").succeeds();
    let follower = begin(&home, &["log", guest.id(), "--follow"]);
    guest.exec("echo the last words > /dev/console").succeeds();
    home.kiln(&["stop", guest.id()]).succeeds();
    let followed = end(follower).succeeds();
    let log = home.kiln(&["log", guest.id()]).succeeds();
    assert_eq!(followed.text(), log.text(), "what was followed is the whole log");
    let lines: Vec<_> = log
        .text()
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    // A shell's prompt may stand before them.
    let at = |words: &str| {
        let found: Vec<_> = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.ends_with(words))
            .collect();
        assert_eq!(found.len(), 1, "`{words}` in {lines:?}");
        found[0].0
    };
    assert!(at("the first words") < at("the last words"));
    assert_eq!((followed.stderr.as_str(), log.stderr.as_str()), ("", ""));
}

#[test]
fn wait_says_nothing_when_the_state_is_there_and_why_when_it_never_will_be() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    let says_nothing = |ended: Outcome| {
        let ended = ended.succeeds();
        assert_eq!((ended.text().as_str(), ended.stderr.as_str()), ("", ""));
    };
    let wait = |state: &str| home.kiln(&["wait", guest.id(), state]);
    says_nothing(wait("running"));
    says_nothing(wait("agent"));
    home.kiln(&["wait", guest.id(), "stopped", "--timeout", "1"])
        .fails(1, &["still running after 1 s", "[GuestTimeout]"]);
    let waiting = begin(&home, &["wait", guest.id(), "stopped"]);
    home.kiln(&["stop", guest.id()]).succeeds();
    says_nothing(end(waiting));
    home.kiln(&["terminate", guest.id()]).succeeds();
    says_nothing(wait("terminated"));
    wait("running").fails(1, &["will never be running", "[IncorrectInstanceState]"]);
}
