//! An image is launched, looked at, and ended.

use kiln_tests::Home;

#[test]
fn an_instance_runs_a_command_and_is_terminated() {
    let home = Home::new();
    let guest = home.launch("tiny", &["--name", "first"]);
    assert_eq!(guest.state(), "running");
    assert_eq!(guest.says("echo hello from $((40 + 2))"), "hello from 42");
    assert_eq!(
        home.kiln(&["exec", "first", "--", "sh", "-c", "exit 7"]).status,
        7
    );

    let disk = guest.show()["BlockDeviceMappings"][0].clone();
    let volume = disk["Ebs"]["VolumeId"]
        .as_str()
        .expect("a root volume")
        .to_string();
    assert_eq!(disk["Ebs"]["DeleteOnTermination"], true);
    let serial = guest.says("cat /sys/block/vda/serial");
    assert_eq!(
        serial,
        volume.replace('-', ""),
        "the disk's serial is its volume's id without the dash"
    );

    home.kiln(&["terminate", "first"]).succeeds();
    assert_eq!(guest.state(), "terminated");
    home.kiln(&["log", guest.id()]).fails(
        1,
        &["IncorrectInstanceState", "was terminated, and its log with it"],
    );
    assert!(guest.processes().is_empty(), "no VMM is left");
    assert_eq!(
        home.kiln(&["-q", "volume", "list"]).succeeds().text(),
        "",
        "its root volume is deleted"
    );
    home.is_whole();
}

#[test]
fn one_command_launches_several_instances() {
    let home = Home::new();
    let ids = home
        .kiln(&["-q", "run", "tiny", "--count", "2", "--tag", "role=web"])
        .succeeds()
        .text();
    assert_eq!(ids.lines().count(), 2);
    let document = home.json(&["list"]);
    let running = document["Reservations"].as_array().expect("reservations").iter();
    let running = running.flat_map(|r| r["Instances"].as_array().expect("instances").clone());
    assert_eq!(running.filter(|i| i["State"]["Name"] == "running").count(), 2);
}

#[test]
fn the_types_vcpus_and_memory_arrive_in_the_guest_and_kvms_clock_with_them() {
    let home = Home::new();
    // The larger one is as large as the host's memory allows.
    let large = match memory() {
        0..0x1_4000_0000 => ("t3.small", 1_850_000..2_097_152),
        _ => ("t3.medium", 3_900_000..4_194_304),
    };
    for (instance_type, kib) in [("t3.micro", 900_000..1_048_576), large] {
        let guest = home.launch("tiny", &["--type", instance_type]);
        assert_eq!(guest.says("nproc"), "2");
        let total = guest.says("awk '/MemTotal/ {print $2}' /proc/meminfo");
        let total: u64 = total.parse().expect("a number");
        assert!(kib.contains(&total), "{instance_type}: {total} KiB");
        let clocks = guest.says("cat /sys/devices/system/clocksource/clocksource0/available_clocksource");
        assert!(clocks.split(' ').any(|clock| clock == "kvm-clock"), "{clocks}");
        home.kiln(&["terminate", guest.id()]).succeeds();
    }
}

#[test]
fn a_guest_that_is_run_as_windows_finds_hyperv_at_its_next_start_too() {
    let home = Home::new();
    let guest = home.launch("tiny", &["--os", "windows"]);
    let keeps_time_by = "cat /sys/devices/system/clocksource/clocksource0/current_clocksource";
    for turn in ["launch", "start"] {
        assert_eq!(guest.says(keeps_time_by), "hyperv_clocksource_tsc_page", "{turn}");
        assert_eq!(guest.show()["Platform"], "windows", "{turn}");
        if turn == "launch" {
            home.kiln(&["stop", guest.id()]).succeeds();
            home.kiln(&["start", guest.id(), "--wait", "agent"]).succeeds();
        }
    }
}

#[test]
fn stop_keeps_the_root_disk_and_start_boots_it_again() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    guest.exec("echo kept > /root/file; sync").succeeds();
    home.kiln(&["stop", guest.id()]).succeeds();
    assert_eq!(guest.state(), "stopped");
    home.kiln(&["start", guest.id()]).succeeds();
    assert_eq!(guest.says("cat /root/file"), "kept");
    home.kiln(&["reboot", guest.id()]).succeeds();
    assert_eq!(guest.says("cat /root/file"), "kept");
}

#[test]
fn a_guest_that_powers_itself_off_is_stopped() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    guest.exec("poweroff >/dev/null 2>&1 &");
    guest.becomes("stopped", 120);
    assert!(guest.show()["StateReason"]["Message"].is_string());
}

#[test]
fn an_instance_whose_vmm_died_shows_as_stopped_and_starts_again() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    // SAFETY: kill has no memory effects; the process is this test's own guest.
    unsafe { libc::kill(guest.vmm(), libc::SIGKILL) };
    guest.becomes("stopped", 120);
    home.kiln(&["start", guest.id()]).succeeds();
    assert_eq!(guest.says("echo back"), "back");
    home.is_whole();
}

#[test]
fn a_volume_is_an_empty_disk_of_its_size_and_keeps_its_bytes_if_asked() {
    let home = Home::new();
    let guest = home.launch("tiny", &["--volume", "1G", "--volume", "2G,keep"]);
    assert_eq!(
        guest.says("cat /sys/block/vdb/size /sys/block/vdc/size"),
        "2097152\n4194304"
    );
    guest
        .exec("echo data | dd of=/dev/vdc conv=fsync 2>/dev/null")
        .succeeds();
    home.kiln(&["terminate", guest.id()]).succeeds();
    let volumes = home.json(&["volume", "list"])["Volumes"]
        .as_array()
        .expect("volumes")
        .clone();
    assert_eq!(volumes.len(), 1, "only the volume to keep is left");
    assert_eq!(volumes[0]["Size"], 2);
    assert_eq!(volumes[0]["State"], "available");
    home.is_whole();
    let volume = volumes[0]["VolumeId"].as_str().expect("an id");
    let deleted = home.kiln(&["volume", "delete", volume]).succeeds();
    assert_eq!(deleted.text(), volume);
    assert_eq!(home.kiln(&["-q", "volume", "list"]).succeeds().text(), "");
    home.is_whole();
}

#[test]
fn a_volume_goes_from_one_stopped_instance_to_another_with_what_was_written() {
    let home = Home::new();
    let create = ["-q", "volume", "create", "--size", "1G", "--name", "data"];
    let volume = home.kiln(&create).succeeds().text();
    let first = home.launch("tiny", &["--name", "first"]);
    home.kiln(&["stop", "first"]).succeeds();
    let attached = home.json(&["volume", "attach", "data", "first"]);
    assert_eq!(attached["Device"], "/dev/sdb");
    home.kiln(&["start", "first"]).succeeds();
    assert_eq!(
        first.says("cat /sys/block/vdb/serial"),
        volume.replace('-', ""),
        "the volume is the second disk"
    );
    first
        .exec("echo data | dd of=/dev/vdb conv=fsync 2>/dev/null")
        .succeeds();
    home.kiln(&["stop", "first"]).succeeds();
    home.kiln(&["volume", "detach", "data"]).succeeds();

    let second = home.launch("tiny", &["--name", "second"]);
    home.kiln(&["stop", "second"]).succeeds();
    home.kiln(&["volume", "attach", "data", "second", "--device", "/dev/sdf"])
        .succeeds();
    home.kiln(&["start", "second"]).succeeds();
    assert_eq!(second.says("dd if=/dev/vdb bs=4 count=1 2>/dev/null"), "data");
    home.kiln(&["volume", "delete", "data"])
        .fails(1, &["VolumeInUse"]);
    home.kiln(&["start", "first"]).succeeds();
    assert_eq!(first.says("ls /sys/block | grep -c ^vd"), "1", "its root alone");
    home.kiln(&["terminate", "first", "second"]).succeeds();
    assert_eq!(
        home.kiln(&["-q", "volume", "list"]).succeeds().text(),
        volume,
        "it outlives its instance"
    );
    home.kiln(&["volume", "delete", "data"]).succeeds();
    home.is_whole();
}

#[test]
fn a_stopped_instance_gets_other_words_for_its_kernel_and_its_root_back() {
    let home = Home::new();
    let guest = home.launch("tiny", &["--name", "changed"]);
    guest.exec("echo kept > /root/file; sync").succeeds();
    home.kiln(&["stop", "changed"]).succeeds();
    home.kiln(&["modify", "changed", "--cmdline-append", "kiln.word=1"])
        .succeeds();
    let root = guest.show()["BlockDeviceMappings"][0].clone();
    let (volume, device) = (root["Ebs"]["VolumeId"].as_str(), root["DeviceName"].as_str());
    let (volume, device) = (volume.expect("a root volume"), device.expect("its name"));
    home.kiln(&["volume", "detach", volume]).succeeds();
    home.kiln(&["start", "changed"])
        .fails(1, &["IncorrectState", "does not have a volume attached at root"]);
    home.kiln(&["volume", "attach", volume, "changed", "--device", device])
        .succeeds();
    home.kiln(&["start", "changed"]).succeeds();
    assert_eq!(guest.says("cat /root/file"), "kept");
    assert!(guest.says("cat /proc/cmdline").contains(" kiln.word=1"));
    home.kiln(&["stop", "changed"]).succeeds();
    home.kiln(&["modify", "changed", "--own-kernel"]).succeeds();
    home.kiln(&["start", "changed"]).succeeds();
    assert!(!guest.says("cat /proc/cmdline").contains("kiln.word"));
    home.kiln(&["terminate", "changed"]).succeeds();
    home.kiln(&["volume", "delete", volume]).succeeds();
    home.is_whole();
}

#[test]
fn the_root_volume_can_be_larger_than_the_image_but_not_smaller() {
    let home = Home::new();
    let guest = home.launch("tiny", &["--root-size", "3G"]);
    assert_eq!(guest.says("cat /sys/block/vda/size"), "6291456");
    home.kiln(&["run", "tiny", "--root-size", "1M"])
        .fails(1, &["InvalidBlockDeviceMapping"]);
}

#[test]
fn a_launch_that_does_not_fit_the_host_is_refused_and_says_what_is_free() {
    let home = Home::new();
    // As many as are sure not to fit, of 768 GiB each.
    let count = memory() / (768 << 30) + 1;
    let count = count.to_string();
    home.kiln(&["run", "tiny", "--type", "r5.24xlarge", "--count", &count])
        .fails(1, &["InsufficientInstanceCapacity", "free"]);
    assert_eq!(home.kiln(&["-q", "list"]).succeeds().text(), "");
    home.is_whole();
}

#[test]
fn a_launch_whose_guest_is_no_longer_waited_for_says_that_it_goes_on() {
    let home = Home::new();
    let launch = [
        "run",
        "tiny",
        "--name",
        "late",
        "--wait",
        "agent",
        "--agent-timeout",
        "0",
    ];
    let said = home.kiln(&launch).fails(1, &["GuestTimeout"]).stderr;
    let id = home.kiln(&["-q", "list", "late"]).succeeds().text();
    assert!(
        said.contains(&format!("{id} goes on: kiln terminate {id} ends it")),
        "{said}"
    );
    home.kiln(&["terminate", "late"]).succeeds();
    home.is_whole();
}

#[test]
fn huge_pages_that_the_host_does_not_have_are_told_with_the_remedy_and_nothing_is_left() {
    let home = Home::new();
    // No host has set 768 GiB aside.
    home.kiln(&["run", "tiny", "--type", "r5.24xlarge", "--huge-pages", "1G"])
        .fails(1, &["InsufficientInstanceCapacity", "768 pages", "nr_hugepages"]);
    home.kiln(&["run", "tiny", "--type", "t1.micro", "--huge-pages", "2m"])
        .fails(1, &["InvalidParameterCombination", "huge pages of 2M"]);
    assert_eq!(home.kiln(&["-q", "list"]).succeeds().text(), "");
    home.is_whole();
}

/// Bytes of the host.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("procfs");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .expect("a line of it");
    kib.parse::<u64>().expect("a number") << 10
}
