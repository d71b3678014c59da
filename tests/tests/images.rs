//! What the images that come with Kiln promise, as guests.

use std::time::{Duration, Instant};

use kiln_tests::{Guest, Home};

/// Takes the agent's port away from a guest, a moment after the command that asks for it.
const UNPLUG: &str = "(sleep 1; cd /sys/bus/virtio/drivers/virtio_console; for device in virtio*; do \
    echo $device >unbind; done) </dev/null >/dev/null 2>&1 &";

/// Waits until two commands in a row do not reach the agent.
fn falls_silent(guest: &Guest<'_>) {
    let reach = ["exec", "--agent-timeout", "10", guest.id(), "--", "true"];
    let began = Instant::now();
    let mut missed = 0;
    while missed < 2 {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "the agent has its port yet"
        );
        let is_missed = guest.home().kiln(&reach).status == 125;
        missed = if is_missed { missed + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn the_button_works_without_the_port(image: &str) {
    let home = Home::new();
    let guest = home.launch(image, &[]);
    // In a slow guest the port may be gone before the command's end comes back.
    guest.exec(UNPLUG);
    falls_silent(&guest);
    assert_eq!(guest.state(), "running", "it goes on without its port");
    let stop = home.kiln(&["stop", guest.id(), "--timeout", "200"]).succeeds();
    assert!(!stop.stderr.contains("warning:"), "a clean stop: {}", stop.stderr);
    assert_eq!(guest.state(), "stopped");
    home.kiln(&["start", guest.id()]).succeeds();
    assert_eq!(guest.says("echo back"), "back");
}

#[test]
fn the_power_button_of_tiny_works_without_the_agents_port() {
    the_button_works_without_the_port("tiny");
}

#[test]
fn the_power_button_of_debian_works_without_the_agents_port() {
    the_button_works_without_the_port("debian");
}

#[test]
fn the_next_debian_boots_from_its_own_menu_and_answers() {
    let home = Home::new();
    let guest = home.launch("debian-13-pv", &[]);
    assert!(guest.says("cat /etc/debian_version").starts_with("13."));
    let log = guest.vmm_log();
    assert!(log.contains("chosen from the boot menu"), "{log}");
    let stop = home.kiln(&["stop", guest.id(), "--timeout", "240"]).succeeds();
    assert!(!stop.stderr.contains("warning:"), "a clean stop: {}", stop.stderr);
}
