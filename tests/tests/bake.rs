//! A running instance is baked into an image, and the bake is launched.

use kiln_tests::{Guest, Home};

fn bake(home: &Home, guest: &Guest<'_>, name: &str, options: &[&str]) -> String {
    let mut arguments = vec!["-q", "image", "create", guest.id(), "--name", name];
    arguments.extend(options);
    home.kiln(&arguments).succeeds().text()
}

#[test]
fn the_bake_carries_the_change_and_the_original_goes_on() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    guest.exec("echo changed > /root/mark").succeeds();
    let before = guest.says("cat /proc/sys/kernel/random/boot_id");

    let image = bake(&home, &guest, "with-mark", &[]);
    assert!(image.starts_with("ami-") && image.len() == 21);
    assert_ne!(
        guest.says("cat /proc/sys/kernel/random/boot_id"),
        before,
        "by default the instance is rebooted"
    );

    guest.exec("echo later > /root/mark").succeeds();
    let copy = home.launch("with-mark", &[]);
    assert_eq!(copy.says("cat /root/mark"), "changed");
    assert_eq!(guest.says("cat /root/mark"), "later");
    home.is_whole();
}

#[test]
fn without_a_reboot_the_instance_runs_on_and_its_files_are_whole() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    let before = guest.says("cat /proc/sys/kernel/random/boot_id");
    guest
        .exec("n=0; (while true; do n=$((n + 1)); echo $n > /root/new; mv /root/new /root/count; usleep 5000; done) >/dev/null 2>&1 &")
        .succeeds();
    guest.exec("echo unsynced > /root/mark").succeeds();
    bake(&home, &guest, "live", &["--no-reboot"]);
    assert_eq!(
        guest.says("cat /proc/sys/kernel/random/boot_id"),
        before,
        "it was not rebooted"
    );

    let copy = home.launch("live", &[]);
    assert_eq!(copy.says("cat /root/mark"), "unsynced");
    assert!(copy.says("cat /root/count").parse::<u64>().is_ok());
    home.is_whole();
}

#[test]
fn a_stopped_instance_is_baked_and_stays_stopped() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    guest.exec("echo still > /root/mark").succeeds();
    home.kiln(&["stop", guest.id()]).succeeds();
    bake(&home, &guest, "from-stopped", &[]);
    assert_eq!(guest.state(), "stopped");
    assert_eq!(home.launch("from-stopped", &[]).says("cat /root/mark"), "still");
}

#[test]
fn a_name_is_taken_only_once() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    home.kiln(&["image", "create", guest.id(), "--name", "tiny"])
        .fails(1, &["InvalidAMIName.Duplicate", "tiny"]);
    assert_eq!(
        guest.state(),
        "running",
        "a refused bake does not touch the instance"
    );
}

#[test]
fn a_deregistered_image_leaves_its_instances_running_and_launches_no_more() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    let image = bake(&home, &guest, "short-lived", &["--no-reboot"]);
    let copy = home.launch(&image, &[]);
    let snapshot =
        home.json(&["image", "show", &image])["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
            .clone();
    let snapshot = snapshot.as_str().expect("a root snapshot").to_string();
    home.kiln(&["snapshot", "delete", &snapshot])
        .fails(1, &["InvalidSnapshot.InUse", &snapshot, &image]);

    home.kiln(&["image", "deregister", &image]).succeeds();
    assert_eq!(copy.says("echo alive"), "alive");
    home.kiln(&["run", &image])
        .fails(1, &["InvalidAMIID.Unavailable", &image]);
    home.kiln(&["snapshot", "delete", &snapshot]).succeeds();
    home.kiln(&["gc"]).succeeds();
    assert_eq!(copy.says("cat /etc/hostname >/dev/null && echo alive"), "alive");
    home.is_whole();
}

#[test]
fn volumes_are_part_of_the_bake() {
    let home = Home::new();
    let guest = home.launch("tiny", &["--volume", "1G"]);
    guest
        .exec("echo on-the-volume | dd of=/dev/vdb conv=fsync 2>/dev/null")
        .succeeds();
    bake(&home, &guest, "two-disks", &["--no-reboot", "--keep-volumes"]);
    let copy = home.launch("two-disks", &[]);
    assert_eq!(copy.says("head -c 13 /dev/vdb"), "on-the-volume");
    home.kiln(&["terminate", copy.id()]).succeeds();
    assert_eq!(
        home.json(&["volume", "list"])["Volumes"].as_array().map(Vec::len),
        Some(3),
        "root and volume of the \
        original, and the volume that --keep-volumes says to keep"
    );
}
