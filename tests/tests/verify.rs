//! A disk under a load that checks what it reads, while its machine is frozen for images, and other disks come and go.

use std::process::Command;
use std::time::{Duration, Instant};

use kiln_tests::{Guest, Home};

/// Debian with fio, as `tests/recipes/debian-fio` has it.
const IMAGE: &str = "debian-fio";
/// How long the load may take to end once it is asked to: a round, and what it has yet to read of it.
const PATIENCE: Duration = Duration::from_secs(400);

/// Rounds of a minute, until there is a file `/root/enough`; or until what was read is not what was written, which leaves
/// a file `/root/broken`. Each job has a place of its own, which it writes and verifies again and again. What `discards`
/// writes goes by the guest's cache, which is emptied before all is read again; before each piece is written it is
/// discarded, as are the files of `files`, by their file system.
const LOAD: &str = "mkfs.ext4 -q /dev/vdc && mount -o discard /dev/vdc /mnt && cat >/root/jobs <<'END'
[global]
direct=1
verify=crc32c
verify_fatal=1
verify_backlog=64
verify_state_save=0
runtime=60
loops=1000000
[small]
filename=/dev/vdb
ioengine=libaio
iodepth=8
rw=randwrite
bs=4k
size=64m
[large]
filename=/dev/vdb
ioengine=libaio
iodepth=4
rw=write
bs=256k
offset=256m
size=128m
[discards]
filename=/dev/vdb
ioengine=psync
rw=trimwrite
bs=64k
offset=512m
size=16m
verify_backlog=0
[files]
directory=/mnt
ioengine=libaio
iodepth=4
rw=randwrite
bs=16k
size=32m
unlink_each_loop=1
END
(until [ -e /root/enough ]; do fio /root/jobs >>/root/fio.log 2>&1 || touch /root/broken /root/enough; done; \
    touch /root/over) </dev/null >/dev/null 2>&1 &";

/// What fio says of errors: a job that died is none to its exit status.
const ERRORS: &str = "if [ -e /root/broken ] || grep -qE 'verify:|got signal|err= *[1-9]' /root/fio.log; \
    then tail -n 60 /root/fio.log; else echo none; fi";

/// Discards what `large` has written, of which the layers below have much, and looks for it.
const EMPTIED: &str = "blkdiscard -o 268435456 -l 134217728 /dev/vdb && \
    dd if=/dev/vdb bs=1M skip=256 count=128 iflag=direct 2>/dev/null | cmp -n 134217728 - /dev/zero && echo zeroes";

/// Requests to the disk of most jobs so far: reads, writes, discards.
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
    let guest = home.launch(IMAGE, &["--volume", "1G", "--volume", "1G"]);
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
    assert_eq!(guest.says(ERRORS), "none");
    let after = requests(&guest);
    assert!(
        before.iter().zip(after).all(|(before, after)| *before < after),
        "it went on: {before:?}, then {after:?}"
    );
    println!("figure: {after:?} reads, writes, discards");
    assert_eq!(guest.says(EMPTIED), "zeroes");
    let stop = home.kiln(&["stop", guest.id(), "--timeout", "240"]).succeeds();
    assert!(!stop.stderr.contains("warning:"), "a clean stop: {}", stop.stderr);
    home.is_whole();
    let made: Vec<_> = home
        .layers()
        .into_iter()
        .filter(|layer| !given.contains(layer))
        .collect();
    assert!(
        made.len() >= 14,
        "of three disks, frozen three times, and one once: {made:?}"
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
