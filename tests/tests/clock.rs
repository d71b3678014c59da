//! The clocks of a Debian that goes on later than it was saved.

use std::time::{Duration, Instant};

use kiln_tests::Home;
use kiln_tests::saved::{self, Saved, vmm};

/// Looks at the guest's own clock over and over, and notes now and then the longest time from one look to the next, in
/// hundredths of a second.
const GAPS: &str = "setsid sh -c 'gap=0; read last rest </proc/uptime; last=${last%.*}${last#*.}; n=0; \
    while :; do read now rest </proc/uptime; now=${now%.*}${now#*.}; \
        [ $((now - last)) -le $gap ] || gap=$((now - last)); last=$now; n=$((n + 1)); \
        [ $((n % 500)) -ne 0 ] || echo $gap >>/dev/shm/looks; done' </dev/null >/dev/null 2>&1 & \
    while [ ! -s /dev/shm/looks ]; do sleep 0.2; done";

#[test]
fn hazard_a_guest_restored_an_hour_later_has_the_right_time_and_no_gap_in_its_own() {
    let home = Home::new();
    let guest = home.launch("debian", &["--type", "t3.nano"]);
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
    guest.exec(GAPS).succeeds();
    let before = (uptime(), Instant::now());
    vmm(&guest).pause().expect("it is held");
    let saved = Saved::of(&guest);
    std::thread::sleep(Duration::from_secs(20));
    saved.replace(&guest);
    vmm(&guest).resume().expect("it goes on");
    let after = (uptime(), before.1.elapsed().as_secs_f64());
    assert!(
        after.0 >= before.0,
        "its time does not go back: {before:?}, {after:?}"
    );
    assert!(
        after.0 - before.0 <= after.1 - 20.0,
        "it did not see the time between: {before:?}, {after:?}"
    );
    // A little later its clock has made no jump of a second.
    let gap = "a=$(wc -l </dev/shm/looks); while [ $(wc -l </dev/shm/looks) -lt $((a + 3)) ]; do sleep 0.2; done; \
        tail -n 1 /dev/shm/looks";
    let longest: u64 = guest.says(gap).parse().expect("hundredths of a second");
    assert!(
        longest < 100,
        "its own clock jumped by {longest} hundredths of a second"
    );
    println!(
        "figure: the longest gap in a guest's own clock through a save and a restore 20 s later: {longest}0 ms"
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
