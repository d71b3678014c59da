//! Disks that no recipe of ours has made: one that another builder made, and one with another root file system.

use std::time::{Duration, Instant};

use kiln_tests::{Guest, Home};

/// The image of a Debian with the tools that make disks.
const BUILDER: &str = "builder";

/// Firmware, a boot loader and all of Debian's drivers take minutes where virtualization is emulated.
const PATIENCE: &str = "--agent-timeout=900";

/// What vmdb2 is to make.
const DEBIAN: &str = include_str!("foreign_disk/debian.yaml");

/// Has vmdb2 make it on the second disk of the builder, of the builder's own files; where it fails, its log says why.
const BUILD: &str = "set -e; cd /var/tmp; cat >debian.yaml
    tar -C / --one-file-system --exclude='./var/tmp/*' --exclude=./boot/efi -cf files.tar . || [ $? = 1 ]
    vmdb2 --image /dev/vdb --rootfs-tarball files.tar --log log debian.yaml || { tail -n 60 log >&2; exit 1; }
    sync";

/// Makes a Debian with XFS of the builder's own files on its second disk.
const COPY_TO_XFS: &str = "set -e
    parted -s /dev/vdb mklabel gpt mkpart root xfs 1MiB 100%
    udevadm settle; mkfs.xfs -q /dev/vdb1; udevadm settle
    mount /dev/vdb1 /mnt; cd /mnt
    tar -C / --one-file-system --exclude=./boot/efi -cf - . | tar -xf -
    printf 'UUID=%s / xfs defaults 0 0\\n' $(blkid -s UUID -o value /dev/vdb1) >etc/fstab
    echo xfs >>etc/initramfs-tools/modules
    mkdir -p dev proc run sys tmp; for folder in dev proc sys; do mount --bind /$folder $folder; done
    chroot . sh -ec 'update-initramfs -u; update-grub'; grep -q root=UUID= boot/grub/grub.cfg
    cd /; umount /mnt/dev /mnt/proc /mnt/sys /mnt; sync";

/// What is the same whatever the guest was booted by.
const USERLAND: &str = ". /etc/os-release; echo $PRETTY_NAME; hostname; uname -r; findmnt -no FSTYPE,UUID /; \
    cat /root/mark";

/// Has a builder make a disk by `script`, which is fed `input`, and returns the snapshot of it.
fn made_by(home: &Home, script: &str, input: &str) -> String {
    let builder = home.launch(BUILDER, &["--boot", "fast", "--volume", "2G"]);
    home.kiln_with(
        &["exec", builder.id(), "--", "sh", "-c", script],
        input.as_bytes(),
    )
    .succeeds();
    let volume = builder.show()["BlockDeviceMappings"][1]["Ebs"]["VolumeId"].clone();
    let volume = volume.as_str().expect("its second disk is a volume");
    let snapshot = home.kiln(&["-q", "snapshot", "create", volume]).succeeds().text();
    home.kiln(&["terminate", builder.id()]).succeeds();
    snapshot
}

/// Makes an image of the snapshot, whose disk is as the one that was made: nothing is to be said of it.
fn registered(home: &Home, snapshot: &str, name: &str) {
    home.kiln(&["image", "register", "--snapshot", snapshot, "--name", name])
        .succeeds();
    let doctor = home.json(&["image", "doctor", name]);
    assert_eq!(doctor["Findings"].as_array().map(Vec::len), Some(0), "{doctor}");
}

/// Waits until the console asks for a user's name.
fn asks_who_it_is(guest: &Guest<'_>) {
    let began = Instant::now();
    while !guest.log().contains("foreign login:") {
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "there is no prompt yet: {}",
            guest.log()
        );
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn a_disk_that_vmdb2_made_is_imported_changed_and_baked_and_boots_by_firmware_and_by_its_menu() {
    let home = Home::new();
    let snapshot = made_by(&home, BUILD, DEBIAN);
    // To a file as vmdb2 would have left it, and from there.
    registered(&home, &snapshot, "made");
    let file = home.file("disk.raw");
    let path = file.to_str().expect("a path of letters");
    home.kiln(&["image", "export", "made", path]).succeeds();
    home.kiln(&["image", "import", path, "--name", "foreign"])
        .succeeds();
    std::fs::remove_file(&file).expect("it is ours");
    let image = &home.json(&["image", "show", "foreign"])["Images"][0];
    assert_eq!(image["BootMode"], "uefi-preferred", "{image}");

    // By a BIOS: another kernel is installed, as anybody would, and is what boots next.
    let guest = home.launch("foreign", &["--boot", "bios", PATIENCE]);
    asks_who_it_is(&guest);
    assert_eq!(guest.booted_by(), "bios");
    let newer = guest.says("dpkg-deb -f /var/cache/kernels/newer/*.deb Package");
    let newer = newer.trim_start_matches("linux-image-");
    assert_ne!(guest.says("uname -r"), newer);
    guest
        .exec("DEBIAN_FRONTEND=noninteractive dpkg -i /var/cache/kernels/newer/*.deb && echo changed >/root/mark && sync")
        .succeeds();
    home.kiln(&["reboot", guest.id()]).succeeds();
    home.kiln(&["wait", guest.id(), "agent"]).succeeds();
    assert_eq!(guest.says("uname -r"), newer);
    let userland = guest.says(USERLAND);
    home.kiln(&["image", "create", guest.id(), "--name", "bake", "--no-reboot"])
        .succeeds();
    home.kiln(&["terminate", guest.id()]).succeeds();

    // By UEFI, beside which the BIOS's has changed nothing.
    let second = home.launch("foreign", &["--boot", "uefi", PATIENCE]);
    asks_who_it_is(&second);
    assert_eq!(second.booted_by(), "uefi");
    assert_ne!(second.says("uname -r"), newer);
    home.kiln(&["terminate", second.id()]).succeeds();

    for (boot, booted_by) in [("bios", "bios"), ("uefi", "uefi"), ("fast", "menu")] {
        let copy = home.launch("bake", &["--boot", boot, PATIENCE]);
        assert_eq!(copy.booted_by(), booted_by);
        assert_eq!(copy.says(USERLAND), userland, "by {boot}");
        home.kiln(&["terminate", copy.id()]).succeeds();
    }
    home.is_whole();
}

#[test]
fn a_debian_whose_root_is_xfs_boots_from_its_own_menu_and_answers() {
    let home = Home::new();
    let snapshot = made_by(&home, COPY_TO_XFS, "");
    registered(&home, &snapshot, "on-xfs");
    let guest = home.launch("on-xfs", &["--boot", "fast"]);
    assert_eq!(
        (guest.says("findmnt -no FSTYPE /"), guest.booted_by()),
        ("xfs".into(), "menu".into())
    );
    let log = guest.vmm_log();
    assert!(log.contains("(hd0,0)/boot/grub/grub.cfg"), "{log}");
    home.is_whole();
}
