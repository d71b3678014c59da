//! A disk under a load that checks what it reads, while its machine is frozen for images, and other disks come and go.

use std::process::Command;
use std::time::{Duration, Instant};

use kiln_tests::{Guest, Home};

/// Debian with fio, as `tests/recipes/debian-fio` has it.
const IMAGE: &str = "debian-fio";
/// How long the load may take to end once it is asked to: a round, and what it has yet to read of it.
const PATIENCE: Duration = Duration::from_secs(400);

/// Rounds of a minute, until there is a file `/root/enough`; or until what was read is not what was written, which leaves
/// a file `/root/broken`. Each job has a place of its own, which it writes and verifies again and again. Two of them
/// discard some of what they wrote, in whole clusters, and find zeroes there: they have one request in flight at a time,
/// so that none is written while it is discarded.
const LOAD: &str = "cat >/root/jobs <<'END'
[global]
filename=/dev/vdb
direct=1
verify=crc32c
verify_fatal=1
verify_backlog=64
verify_state_save=0
runtime=60
loops=1000000
[small]
ioengine=libaio
iodepth=8
rw=randwrite
bs=4k
offset=0
size=64m
[large]
ioengine=libaio
iodepth=4
rw=write
bs=256k
offset=256m
size=128m
[scattered-discards]
ioengine=psync
rw=randwrite
bs=64k
offset=512m
size=64m
trim_percentage=40
trim_backlog=32
trim_verify_zero=1
[discards-in-a-row]
ioengine=psync
rw=write
bs=128k
offset=768m
size=64m
trim_percentage=80
trim_backlog=16
trim_verify_zero=1
END
(until [ -e /root/enough ]; do fio /root/jobs >>/root/fio.log 2>&1 || touch /root/broken /root/enough; done; \
    touch /root/over) </dev/null >/dev/null 2>&1 &";

/// Requests of one kind to the disk so far: reads, writes, discards.
fn requests(guest: &Guest<'_>) -> [u64; 3] {
    let counts = guest.says("awk '{ print $1, $5, $12 }' /sys/block/vdb/stat");
    let counts: Vec<u64> = counts.split(' ').map(|n| n.parse().expect("a number")).collect();
    counts.try_into().expect("three numbers")
}

fn bake(home: &Home, guest: &Guest<'_>, name: &str) {
    home.kiln(&["image", "create", guest.id(), "--name", name, "--no-reboot"])
        .succeeds();
}

#[test]
fn what_fio_writes_and_discards_is_what_it_reads_through_freezes_and_a_volume_that_comes_and_goes() {
    let home = Home::new();
    let given = home.layers();
    let guest = home.launch(IMAGE, &["--volume", "1G"]);
    let create = ["-q", "volume", "create", "--size", "1G", "--name", "data"];
    let volume = home.kiln(&create).succeeds().text();
    guest.exec(LOAD).succeeds();
    let begun = Instant::now();
    while requests(&guest).contains(&0) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", requests(&guest));
    }

    bake(&home, &guest, "first");
    home.kiln(&["volume", "attach", "data", guest.id()]).succeeds();
    let disk = guest.finds(&volume);
    let write = format!("echo data | dd of=/dev/{disk} bs=4k conv=fsync,sync 2>/dev/null");
    guest.exec(&write).succeeds();
    bake(&home, &guest, "second");
    assert_eq!(guest.says(&format!("head -n 1 /dev/{disk}")), "data");
    home.kiln(&["volume", "detach", "data"]).succeeds();
    let before = requests(&guest);
    bake(&home, &guest, "third");
    guest.exec("touch /root/enough").succeeds();

    let asked = Instant::now();
    while guest.exec("test -e /root/over").status != 0 {
        assert!(asked.elapsed() < PATIENCE, "{}", guest.says("tail /root/fio.log"));
        std::thread::sleep(Duration::from_secs(2));
    }
    let log = "if [ -e /root/broken ]; then tail -n 40 /root/fio.log; else echo no errors; fi";
    assert_eq!(guest.says(log), "no errors");
    let after = requests(&guest);
    assert!(
        before.iter().zip(after).all(|(before, after)| *before < after),
        "it went on: {before:?}, then {after:?}"
    );
    println!("figure: {after:?} reads, writes, discards");
    let stop = home.kiln(&["stop", guest.id(), "--timeout", "240"]).succeeds();
    assert!(!stop.stderr.contains("warning:"), "a clean stop: {}", stop.stderr);
    home.is_whole();
    let made: Vec<_> = home
        .layers()
        .into_iter()
        .filter(|layer| !given.contains(layer))
        .collect();
    assert!(
        made.len() >= 9,
        "two disks, frozen three times, and one once: {made:?}"
    );
    for layer in made {
        let out = Command::new("qemu-img")
            .args(["check", "-f", "qcow2"])
            .arg(&layer)
            .output();
        let out = out.expect("qemu-img runs");
        let told = [out.stdout, out.stderr].concat();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&told));
    }
}
