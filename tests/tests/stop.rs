//! How a guest ends: cleanly if it can, by force by the deadline, and never silently by force.

use kiln_tests::Home;

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
    guest
        .exec("(sleep 1; killall -STOP kiln-agent) </dev/null >/dev/null 2>&1 &")
        .succeeds();
    std::thread::sleep(std::time::Duration::from_secs(5));
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
