//! The clocks of a Debian that goes on later than it was saved.

use std::time::{Duration, Instant};

use kiln_tests::Home;
use kiln_tests::saved::{self, Saved, vmm};

#[test]
fn hazard_a_guest_restored_an_hour_later_has_the_right_time_and_no_gap_in_its_own() {
    let home = Home::new();
    let guest = home.launch("debian", &["--type", "t2.nano"]);
    // An hour later, as the guest sees it: its clock is put back by one before the save.
    guest.says(
        "timedatectl set-ntp false 2>/dev/null; date -s @$(($(date +%s) - 3600)) >/dev/null; echo done",
    );
    let uptime = || -> f64 {
        guest
            .says("cut -d' ' -f1 /proc/uptime")
            .parse()
            .expect("a number")
    };
    // In this order: what the guest sees passes between the two looks at the host's clock.
    let began = Instant::now();
    let before = uptime();
    vmm(&guest).pause().expect("it is held");
    let saved = Saved::of(&guest);
    std::thread::sleep(Duration::from_secs(20));
    saved.replace(&guest);
    vmm(&guest).resume().expect("it goes on");
    let after = uptime();
    let passed = began.elapsed().as_secs_f64();
    assert!(after >= before, "its time does not go back: {before}, {after}");
    assert!(
        after - before <= passed - 20.0,
        "it did not see the time between: {before}, {after} in {passed} s"
    );
    let host = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs()
    };
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (early, shown, late) = (host(), guest.says("date +%s"), host());
        let shown: u64 = shown.parse().expect("a number");
        if (early..=late + 1).contains(&shown) {
            break;
        }
        assert!(
            Instant::now() < until,
            "the clock shows {shown}, not {early}: {}",
            guest.vmm_log()
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    let kernel = guest.says(&format!("dmesg | grep -E '{}' || echo quiet", saved::COMPLAINTS));
    assert_eq!(kernel, "quiet");
}
