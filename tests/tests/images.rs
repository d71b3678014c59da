//! What the images that come with Kiln promise, as guests.

use kiln_tests::Home;

/// Takes the agent's port away from a guest, a moment after the command that asks for it.
const UNPLUG: &str = "(sleep 1; cd /sys/bus/virtio/drivers/virtio_console; for device in virtio*; do \
    echo $device >unbind; done) </dev/null >/dev/null 2>&1 &";

fn the_button_works_without_the_port(image: &str) {
    let home = Home::new();
    let guest = home.launch(image, &[]);
    guest.exec(UNPLUG).succeeds();
    let reach = ["exec", "--agent-timeout", "3", guest.id(), "--", "true"];
    let tries = (0..20).find(|_| home.kiln(&reach).status == 125);
    assert!(tries.is_some(), "the agent has no port any more");
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
    let stop = home.kiln(&["stop", guest.id()]).succeeds();
    assert!(!stop.stderr.contains("warning:"), "a clean stop: {}", stop.stderr);
}
