//! A bake of a running instance with several disks is one point in time, and never leaves the guest frozen.

use std::process::Stdio;
use std::time::Duration;

use kiln_tests::Home;

/// A guest that writes one counter alternately to its two data disks, each write flushed.
const COUNTER: &str = "n=0; (while true; do n=$((n + 1)); for d in vdb vdc; do \
    printf '%020d' $n | dd of=/dev/$d conv=fsync 2>/dev/null; done; done) </dev/null >/dev/null 2>&1 &";

/// Waits until it has begun its second round: the first is on both disks then.
const BEGUN: &str = "for i in $(seq 120); do n=$(head -c 20 /dev/vdb | tr -d '\\0'); \
    [ \"${n:-0}\" -ge 2 ] && exit 0; sleep 1; done; exit 1";

#[test]
fn twenty_live_bakes_of_two_disks_differ_by_at_most_one_write() {
    let home = Home::new();
    let guest = home.launch("tiny", &["--volume", "1G", "--volume", "1G"]);
    guest.exec(COUNTER).succeeds();
    guest.exec(BEGUN).succeeds();
    let names: Vec<String> = (0..20).map(|round| format!("round-{round}")).collect();
    for name in &names {
        home.kiln(&["image", "create", guest.id(), "--name", name, "--no-reboot"])
            .succeeds();
    }
    let log = guest.vmm_log();
    let stalls = log
        .lines()
        .filter_map(|line| line.split_once("stall_us=")?.1.split(' ').next()?.parse().ok());
    let stalls: Vec<u64> = stalls.collect();
    assert_eq!(stalls.len(), 20, "{log}");
    println!(
        "figure: longest stall in the VMM of 20 live bakes: {} us",
        stalls.iter().max().expect("20 stalls")
    );
    // Nothing writes beside what reads the snapshots: they are what they were.
    home.kiln(&["terminate", guest.id()]).succeeds();
    let rounds: Vec<u64> = names.iter().map(|name| counter_of(&home, name)).collect();
    assert!(
        rounds.first() < rounds.last(),
        "the guest wrote on between the bakes: {rounds:?}"
    );
    home.is_whole();
}

/// The counter on the first data disk of an image, whose other data disk has the same or the one before.
fn counter_of(home: &Home, image: &str) -> u64 {
    let shown = home.json(&["image", "show", image])["Images"][0].clone();
    let disks = shown["BlockDeviceMappings"]
        .as_array()
        .expect("block device mappings");
    let counters: Vec<u64> = disks[1..]
        .iter()
        .map(|d| counter(home, d["Ebs"]["SnapshotId"].as_str()))
        .collect();
    assert!(
        counters[0].abs_diff(counters[1]) <= 1,
        "{image}: the disks hold {counters:?}"
    );
    counters[0]
}

/// The counter at the beginning of a snapshot, read from its layers.
fn counter(home: &Home, snapshot: Option<&str>) -> u64 {
    let snapshot = snapshot.expect("a snapshot");
    let top = kiln_tests::home::layer_of(home, snapshot);
    let out = std::process::Command::new("qemu-img")
        .args(["dd", "-U", "-f", "qcow2", "-O", "raw", "bs=512", "count=1"])
        .arg(format!("if={}", top.display()))
        .arg(format!("of={}", home.file("sector").display()))
        .output()
        .expect("qemu-img runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let sector = std::fs::read(home.file("sector")).expect("a sector");
    String::from_utf8_lossy(&sector[..20])
        .trim_matches('\0')
        .parse()
        .expect("the guest's counter")
}

#[test]
fn hazard_a_killed_bake_leaves_no_guest_frozen() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    guest
        .exec("n=0; (while true; do n=$((n + 1)); echo $n > /root/new; mv /root/new /root/count; sync; done) >/dev/null 2>&1 &")
        .succeeds();
    for (round, pause) in [0, 30, 80, 150, 300, 600, 1200].into_iter().enumerate() {
        let mut bake = home
            .command(&[
                "image",
                "create",
                guest.id(),
                "--name",
                &format!("killed-{round}"),
                "--no-reboot",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("kiln starts");
        std::thread::sleep(Duration::from_millis(pause));
        bake.kill().expect("kiln can be killed");
        bake.wait().expect("kiln ends");
        let writer = "a=$(cat /root/count); n=0; while [ $n -lt 15 ]; do sleep 1; n=$((n + 1)); \
            [ \"$(cat /root/count)\" = \"$a\" ] || exit 0; done; exit 1";
        guest.exec(writer).succeeds();
        home.is_whole();
    }
}
