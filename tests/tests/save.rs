//! A Debian under load is saved, ended, and goes on in a fresh machine, again and again.

use kiln_tests::saved::{self, Saved, vmm};
use kiln_tests::{Guest, Home};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What keeps the guest busy: a counter that goes to the disk each time, and 32 MiB of noise in memory that
/// are checked over and over.
const LOAD: &str = "dd if=/dev/urandom of=/dev/shm/noise bs=1M count=32 2>/dev/null; \
    sha256sum /dev/shm/noise >/dev/shm/sum; \
    setsid sh -c 'n=0; while true; do n=$((n + 1)); echo $n >/root/new; mv /root/new /root/count; sync; done' \
        </dev/null >/dev/null 2>&1 & \
    setsid sh -c 'while sha256sum --quiet -c /dev/shm/sum; do echo >>/dev/shm/checks; done; touch /dev/shm/bad' \
        </dev/null >/dev/null 2>&1 & \
    while [ ! -s /root/count ] || [ ! -s /dev/shm/checks ]; do sleep 0.1; done";

/// Registers that are clocks: Hyper-V's count of time and of a vCPU's run time, which KVM keeps for every guest.
const CLOCKS: [&[u64]; 2] = [&[0x20, 0, 0, 0x40], &[0x10, 0, 0, 0x40]];
/// SYSENTER's stack and entry: on AMD's processors KVM keeps their lower halves only.
const SYSENTER: [&[u64]; 2] = [&[0x75, 1, 0, 0], &[0x76, 1, 0, 0]];

/// What must be as it was: all but clocks.
fn lasting(state: &Value) -> Value {
    let mut lasting = state.clone();
    for vcpu in lasting["vcpus"].as_array_mut().expect("vCPUs") {
        vcpu["tsc"].take();
        // What the timer has left; and the priority, which KVM works out anew from others.
        for byte in (0x390..0x394).chain(0xa0..0xa4) {
            vcpu["state"]["lapic"][byte].take();
        }
        for msr in vcpu["state"]["msrs"].as_array_mut().expect("registers") {
            let msr = msr.as_array_mut().expect("bytes: index, reserved, value");
            let index: Vec<u64> = msr[..4].iter().filter_map(Value::as_u64).collect();
            if CLOCKS.contains(&&*index) {
                msr.truncate(8);
            } else if SYSENTER.contains(&&*index) {
                msr.truncate(12);
            }
        }
    }
    let parts = ["shape", "vcpus", "pci", "functions", "memory"];
    parts.iter().map(|part| lasting[part].take()).collect()
}

/// Where two documents differ, in a line each.
fn differences(place: &str, a: &Value, b: &Value) -> Vec<String> {
    match (a, b) {
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let inner = left.iter().zip(right).enumerate();
            inner
                .flat_map(|(n, (a, b))| differences(&format!("{place}/{n}"), a, b))
                .collect()
        }
        (Value::Object(left), Value::Object(right)) if left.len() == right.len() => {
            let none = Value::Null;
            let inner = left
                .iter()
                .map(|(name, a)| (name, a, right.get(name).unwrap_or(&none)));
            inner
                .flat_map(|(name, a, b)| differences(&format!("{place}/{name}"), a, b))
                .collect()
        }
        _ if a == b => Vec::new(),
        _ => vec![format!("{place}: {a} became {b}")],
    }
}

#[test]
fn a_debian_under_load_is_saved_and_restored_again_and_again() {
    // Each takes half a minute in an emulated computer: KILN_TEST_ROUNDS=20 is for who has the time.
    let rounds = std::env::var("KILN_TEST_ROUNDS").map_or(Ok(4), |text| text.parse());
    let rounds: usize = rounds.expect("KILN_TEST_ROUNDS is a number");
    let home = Home::new();
    let guest = home.launch("debian", &["--type", "t3.nano"]);
    guest.exec(LOAD).succeeds();
    let count = || -> u64 { guest.says("cat /root/count").parse().expect("a number") };
    let (mut stalls, mut starts, mut bytes) = (Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        let before = count();
        let boot = guest.says("cat /proc/sys/kernel/random/boot_id");
        vmm(&guest).pause().expect("it is held");
        let saved = Saved::of(&guest);
        starts.push(saved.replace(&guest));
        let again = Saved::of(&guest);
        let differences = differences("", &lasting(&saved.state()), &lasting(&again.state()));
        assert!(differences.is_empty(), "round {round}: {differences:#?}");
        vmm(&guest).resume().expect("it goes on");
        assert_eq!(guest.says("cat /proc/sys/kernel/random/boot_id"), boot);
        let check = "a=$(cat /root/count); for i in $(seq 100); do [ $(cat /root/count) -gt $a ] && exit 0; sleep 0.1; done; exit 1";
        guest.exec(check).succeeds();
        assert!(count() >= before, "round {round}");
        let began = Instant::now();
        while !guest.vmm_log().contains("random numbers: seeded anew") {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "round {round}: {}",
                guest.vmm_log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        stalls.push(saved.report.stall_us);
        bytes = saved.report.memory_bytes + saved.report.state_bytes;
    }
    assert_eq!(guest.says("ls /dev/shm/bad 2>/dev/null || echo sound"), "sound");
    let kernel = guest.says(&format!("dmesg | grep -E '{}' || echo quiet", saved::COMPLAINTS));
    assert_eq!(kernel, "quiet");
    home.is_whole();
    stalls.sort_unstable();
    starts.sort_unstable();
    println!(
        "figure: a Debian of 512 MiB under load, {rounds} times: held for {} ms to be saved, {} ms from start to restored \
         (medians), {} MiB",
        stalls[rounds / 2] / 1000,
        starts[rounds / 2].as_millis(),
        bytes >> 20
    );
}

/// Prints numbered lines on the serial port without end, once the boot has nothing more to say there. The login there
/// would hang up on who has it open before.
const LINES: &str = "systemctl is-system-running --wait >/dev/null; systemctl mask --runtime --now serial-getty@ttyS0.service; \
    setsid sh -c 'n=0; while :; do echo \"line $n of many\"; n=$((n + 1)); done' \
    </dev/null >/dev/ttyS0 2>&1 &";

/// What is known of a serial port that has fallen silent: by its VMM, and by the guest if that still answers.
fn port(guest: &Guest<'_>) -> String {
    let inside = guest.exec(
        "grep -E 'CPU0|ttyS0|timer' /proc/interrupts; cat /proc/tty/driver/serial; \
         ps -eo stat,wchan,args | grep many; dmesg | tail -5",
    );
    let registers = &Saved::of(guest).state()["board"]["serial"];
    format!("{registers}\n{}\n{}", inside.text(), guest.vmm_log())
}

#[test]
fn hazard_a_debian_that_prints_loses_no_line_through_a_save() {
    let home = Home::new();
    let guest = home.launch("debian", &["--type", "t2.nano"]);
    guest.exec(LINES).succeeds();
    let lines = || -> Vec<u64> {
        let log = guest.log();
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let numbered = whole
            .lines()
            .filter_map(|line| line.trim_end().strip_suffix(" of many"));
        // Before the first of them there may be the prompt of the shell that waited there.
        let number = |line: &str| line.rsplit_once("line ")?.1.parse().ok();
        numbered
            .map(|line| number(line).unwrap_or_else(|| panic!("no whole line: {line:?} of many")))
            .collect()
    };
    for round in 0..3 {
        let before = lines().len();
        vmm(&guest).pause().expect("it is held");
        let saved = Saved::of(&guest);
        saved.replace(&guest);
        vmm(&guest).resume().expect("it goes on");
        let mut tries = 0;
        while lines().len() < before + 200 {
            tries += 1;
            assert!(
                tries < 300,
                "it prints no more after save {round}: {}",
                port(&guest)
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    let lines = lines();
    let broken = lines.windows(2).position(|pair| pair[1] != pair[0] + 1);
    assert_eq!(
        broken.map(|at| &lines[at..at + 2]),
        None,
        "of {} lines",
        lines.len()
    );
}
