//! What a guest does not need any more, its host has again.

use std::time::{Duration, Instant};

use kiln_tests::saved::{Saved, vmm};
use kiln_tests::{Guest, Home};

/// How much the guest takes and frees.
const FILE: u64 = 200 << 20;

/// The memory of the host that the guest's machine has in use, in bytes.
#[track_caller]
fn resident(guest: &Guest<'_>) -> u64 {
    let statistics = guest.home().json(&["stats", guest.id()]);
    let of = &statistics["Statistics"][0];
    of["ResidentBytes"].as_u64().expect("a number of bytes")
}

/// Waits until `is_so` of what the guest takes, and says how long that took.
#[track_caller]
fn until(guest: &Guest<'_>, what: &str, is_so: impl Fn(u64) -> bool) -> Duration {
    let began = Instant::now();
    loop {
        let now = resident(guest);
        if is_so(now) {
            return began.elapsed();
        }
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{what}: {} MiB are in use",
            now >> 20
        );
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn an_idle_debian_gives_memory_back_and_some_more_if_it_is_asked() {
    let home = Home::new();
    let guest = home.launch("debian", &["--type", "t2.micro"]);
    // udev loads the driver; features are one bit each, the first first.
    let features = guest.says(
        "for n in $(seq 300); do \
         d=$(echo /sys/bus/virtio/drivers/virtio_balloon/virtio*); [ -e $d ] && break; sleep 0.2; done; \
         cut -c1-6 $d/features",
    );
    assert_eq!(features, "001001");
    guest
        .exec("head -c 200M /dev/zero | tr '\\0' k >/dev/shm/fill; echo kept >/dev/shm/kept")
        .succeeds();
    let full = resident(&guest);
    assert!(full > FILE, "{} MiB", full >> 20);
    let fat = Saved::of(&guest).report.memory_bytes;
    guest.exec("rm /dev/shm/fill").succeeds();
    let took = until(&guest, "the file is gone", |now| now < full - FILE / 4 * 3);
    let free = resident(&guest);
    let lean = Saved::of(&guest).report.memory_bytes;
    assert!(lean < fat - FILE / 4 * 3, "{} of {} MiB", lean >> 20, fat >> 20);
    println!(
        "figure: a Debian of 1 GiB that has freed 200 MiB takes {} MiB instead of {} after {} s, \
         and a save of it {} MiB instead of {}",
        free >> 20,
        full >> 20,
        took.as_secs(),
        lean >> 20,
        fat >> 20
    );

    // It gives up as much again if it is asked to, and has it back.
    vmm(&guest).balloon(FILE).expect("it has so much");
    let began = Instant::now();
    let given = || {
        let balloon = vmm(&guest).status().expect("it answers").balloon;
        balloon.expect("it has one").actual_bytes
    };
    while given() != FILE {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{} MiB given up",
            given() >> 20
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    vmm(&guest).balloon(0).expect("it may have everything");
    // What it has again holds what it writes.
    guest
        .exec(
            "head -c 200M /dev/zero | tr '\\0' m >/dev/shm/fill; [ $(tr -d m </dev/shm/fill | wc -c) = 0 ] && \
             [ $(stat -c %s /dev/shm/fill) = 209715200 ]",
        )
        .succeeds();
    assert_eq!(guest.says("cat /dev/shm/kept"), "kept");
    assert_eq!(
        guest.says("dmesg | grep -E 'BUG|Oops|Bad page|Out of memory' || echo quiet"),
        "quiet"
    );
    home.is_whole();
}
