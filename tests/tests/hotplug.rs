//! Volumes come to guests that run, and go from them, without a reboot.

use kiln_tests::{Guest, Home};

fn create(home: &Home, name: &str) -> String {
    let create = ["-q", "volume", "create", "--size", "1G", "--name", name];
    home.kiln(&create).succeeds().text()
}

#[test]
fn a_volume_comes_to_a_debian_that_runs_is_frozen_with_it_and_goes_to_another_with_its_data() {
    let home = Home::new();
    let volume = create(&home, "data");
    let first = home.launch("debian", &["--name", "first", "--volume", "1G"]);
    // Another disk is at work all the time.
    first
        .exec(
            "(while true; do dd if=/dev/urandom of=/dev/vdb bs=64k count=64 oflag=direct || echo broken >> /root/errors; \
             done) </dev/null >/dev/null 2>&1 &",
        )
        .succeeds();
    let boot = first.says("cat /proc/sys/kernel/random/boot_id");

    let attached = home.json(&["volume", "attach", "data", "first"]);
    assert_eq!(
        (attached["Device"].as_str(), attached["State"].as_str()),
        (Some("/dev/sdc"), Some("attached"))
    );
    let disk = first.finds(&volume);
    assert_eq!(
        first.says(&format!("udevadm settle && lsblk -dno SERIAL /dev/{disk}")),
        volume.replace('-', "")
    );
    first
        .exec(&format!(
            "mkfs.ext4 -q /dev/{disk} && mkdir -p /mnt/data && mount /dev/{disk} /mnt/data && \
             echo first > /mnt/data/file && sync"
        ))
        .succeeds();
    first
        .exec("(while true; do date +%s%N >> /mnt/data/log || break; done) </dev/null >/dev/null 2>&1 & echo $! > /root/writer")
        .succeeds();
    home.kiln(&["image", "create", "first", "--name", "live", "--no-reboot"])
        .succeeds();
    let image = home.json(&["image", "show", "live"])["Images"][0].clone();
    assert_eq!(
        image["BlockDeviceMappings"].as_array().map(Vec::len),
        Some(3),
        "{image}"
    );

    // It would let go of a disk that is mounted, and lose what it has not written.
    home.kiln(&["volume", "detach", "data"])
        .fails(1, &["IncorrectState", "mounted at /mnt/data", "--force"]);
    assert_eq!(first.disks_of(&volume), "1", "the guest has it still");
    first
        .exec("kill $(cat /root/writer); sleep 1; wc -l < /mnt/data/log > /root/lines; umount /mnt/data")
        .succeeds();
    let was = home.json(&["volume", "detach", "data"]);
    assert_eq!(was["State"], "detached");
    assert_eq!(first.disks_of(&volume), "0", "the guest has it no more");

    let second = home.launch("debian", &["--name", "second"]);
    home.kiln(&["volume", "attach", "data", "second"]).succeeds();
    let disk = second.finds(&volume);
    let seen = second.says(&format!(
        "mkdir -p /mnt/data && mount /dev/{disk} /mnt/data && cat /mnt/data/file && wc -l < /mnt/data/log"
    ));
    let lines = first.says("cat /root/lines");
    assert_eq!(seen, format!("first\n{lines}"));
    assert_eq!(
        first.says("cat /root/errors 2>/dev/null | wc -l"),
        "0",
        "the other disk was not disturbed"
    );
    assert_eq!(
        first.says("cat /proc/sys/kernel/random/boot_id"),
        boot,
        "it was not booted again"
    );
    home.is_whole();
}

#[test]
fn a_volume_comes_and_goes_ten_times_and_is_there_after_a_reboot_and_after_a_start() {
    let home = Home::new();
    let volume = create(&home, "data");
    let guest = home.launch("tiny", &["--name", "guest"]);
    for round in 0..10 {
        home.kiln(&["volume", "attach", "data", "guest"]).succeeds();
        let disk = guest.finds(&volume);
        guest
            .exec(&format!(
                "[ {round} = 0 ] || [ $(head -c 1 /dev/{disk}) = {} ]",
                round - 1
            ))
            .succeeds();
        guest
            .exec(&format!(
                "printf {round} | dd of=/dev/{disk} conv=fsync 2>/dev/null"
            ))
            .succeeds();
        home.kiln(&["volume", "detach", "data"]).succeeds();
        assert_eq!(guest.disks_of(&volume), "0", "round {round}");
    }
    home.kiln(&["volume", "attach", "data", "guest"]).succeeds();
    home.kiln(&["reboot", "guest"]).succeeds();
    home.kiln(&["wait", "guest", "agent"]).succeeds();
    assert_eq!(guest.disks_of(&volume), "1", "after a reboot");
    home.kiln(&["stop", "guest"]).succeeds();
    home.kiln(&["start", "guest"]).succeeds();
    home.kiln(&["wait", "guest", "agent"]).succeeds();
    assert_eq!(guest.disks_of(&volume), "1", "after a start");
    // One that was there at the start goes as well.
    home.kiln(&["volume", "detach", "data"]).succeeds();
    assert_eq!(guest.disks_of(&volume), "0");
    home.is_whole();
}

#[test]
fn a_volume_is_taken_from_a_guest_that_holds_on_and_comes_back_with_what_was_written() {
    let home = Home::new();
    let volume = create(&home, "data");
    let guest = home.launch("tiny", &["--name", "guest"]);
    home.kiln(&["volume", "attach", "data", "guest"]).succeeds();
    let disk = guest.finds(&volume);
    guest
        .exec(&format!("printf kept | dd of=/dev/{disk} conv=fsync 2>/dev/null"))
        .succeeds();
    // It cannot let go of what it does not hear of.
    let held = kiln_vmm::client::Vmm::connect(&home.path().join("instances").join(guest.id()));
    let mut vmm = held.expect("the machine answers");
    vmm.pause().expect("it can be held");
    home.kiln(&["volume", "detach", "data", "--timeout", "1"])
        .fails(1, &["IncorrectState", "unmount it", "--force"]);
    let shown = home.json(&["volume", "list", "data"]);
    assert_eq!(shown["Volumes"][0]["Attachments"][0]["State"], "busy");
    home.kiln(&["volume", "detach", "data", "--force", "--timeout", "1"])
        .succeeds();
    vmm.resume().expect("it goes on");
    // The guest finds out, and lives.
    guest
        .exec(&format!(
            "for i in $(seq 300); do [ -e /sys/block/{disk} ] || exit 0; sleep 0.1; done; exit 1"
        ))
        .succeeds();
    home.kiln(&["volume", "attach", "data", "guest"]).succeeds();
    let disk = guest.finds(&volume);
    assert_eq!(guest.says(&format!("head -c 4 /dev/{disk}")), "kept");
    home.kiln(&["volume", "detach", &guest_root(&home, &guest)])
        .fails(1, &["OperationNotPermitted", "stop it first"]);
    home.is_whole();
}

fn guest_root(home: &Home, guest: &Guest<'_>) -> String {
    let document = home.json(&["show", guest.id()]);
    let root = &document["Reservations"][0]["Instances"][0]["BlockDeviceMappings"][0]["Ebs"]["VolumeId"];
    root.as_str().expect("a volume").to_owned()
}
