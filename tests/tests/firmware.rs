//! A whole disk, unmodified, boots through firmware and its own boot loader: by a BIOS, by UEFI; and fast, by its menu.
//! Volumes come to a guest that firmware has booted, and go, as to any other.

use std::time::{Duration, Instant};

use kiln_tests::{Guest, Home};

/// The image of the recipe for whole disks.
const IMAGE: &str = "debian-disk";

/// Firmware and boot loader take minutes where virtualization is emulated.
const PATIENCE: &str = "--agent-timeout=900";

fn mode(home: &Home, guest: &Guest<'_>) -> String {
    let document = home.json(&["show", guest.id()]);
    document["Reservations"][0]["Instances"][0]["CurrentInstanceBootMode"]
        .as_str()
        .unwrap_or("none")
        .to_owned()
}

/// A new volume comes to `guest`, which runs, and gets a file system with one file.
fn gets_a_volume(home: &Home, guest: &Guest<'_>) -> String {
    let create = ["-q", "volume", "create", "--size", "1G", "--name", "data"];
    let volume = home.kiln(&create).succeeds().text();
    home.kiln(&["volume", "attach", "data", guest.id()]).succeeds();
    let disk = guest.finds(&volume);
    guest
        .exec(&format!(
            "mkfs.ext4 -q /dev/{disk} && mount /dev/{disk} /mnt && echo data >/mnt/file && umount /mnt"
        ))
        .succeeds();
    volume
}

/// The volume has what was written, and goes from `guest`, which runs on.
fn gives_it_back(home: &Home, guest: &Guest<'_>, volume: &str) {
    let disk = guest.finds(volume);
    let read = format!("mount -o ro /dev/{disk} /mnt && cat /mnt/file && umount /mnt");
    assert_eq!(guest.says(&read), "data");
    let was = home.json(&["volume", "detach", volume]);
    assert_eq!(was["State"], "detached");
    assert_eq!(guest.disks_of(volume), "0", "the guest has it no more");
}

#[test]
fn a_whole_disk_boots_by_a_bios_again_after_a_reboot_and_as_a_bake() {
    let home = Home::new();
    let guest = home.launch(IMAGE, &["--boot", "bios", PATIENCE]);
    assert_eq!(
        (guest.booted_by(), mode(&home, &guest)),
        ("bios".into(), "legacy-bios".into())
    );
    let log = guest.log();
    assert!(
        log.contains("SeaBIOS"),
        "the firmware's own lines are in the log: {log}"
    );
    let before = guest.says("cat /proc/sys/kernel/random/boot_id");
    guest.exec("echo changed >/root/mark").succeeds();
    let volume = gets_a_volume(&home, &guest);
    assert_eq!(guest.says("cat /proc/sys/kernel/random/boot_id"), before);
    // The BIOS finds two disks now, and boots from the one that it did before.
    home.kiln(&["reboot", guest.id()]).succeeds();
    home.kiln(&["wait", guest.id(), "agent"]).succeeds();
    assert_ne!(guest.says("cat /proc/sys/kernel/random/boot_id"), before);
    gives_it_back(&home, &guest, &volume);
    home.kiln(&["image", "create", guest.id(), "--name", "bake", "--no-reboot"])
        .succeeds();
    home.kiln(&["terminate", guest.id()]).succeeds();
    let copy = home.launch("bake", &["--boot", "fast"]);
    assert_eq!(
        (copy.booted_by(), mode(&home, &copy)),
        ("menu".into(), "none".into())
    );
    assert_eq!(copy.says("cat /root/mark"), "changed");
    home.is_whole();
}

/// Writes a UEFI variable that stays: its attributes, then what it says.
const SET: &str = "f=/sys/firmware/efi/efivars/Kiln-2f7e3c1a-6f0b-4d53-9a3e-5b7c1d2e4f60; \
    mountpoint -q ${f%/*} || mount -t efivarfs efivarfs ${f%/*}; printf '\\7\\0\\0\\0baked' >$f; sync";
/// What it says. Nobody can seek in it.
const GET: &str = "f=/sys/firmware/efi/efivars/Kiln-2f7e3c1a-6f0b-4d53-9a3e-5b7c1d2e4f60; \
    mountpoint -q ${f%/*} || mount -t efivarfs efivarfs ${f%/*}; cat $f | tail -c +5";

#[test]
fn a_whole_disk_boots_by_uefi_and_its_variables_live_with_the_instance_and_its_bakes() {
    let home = Home::new();
    // As the image is made for: it can do both.
    let guest = home.launch(IMAGE, &["--root-size", "3G", PATIENCE]);
    assert_eq!(
        (guest.booted_by(), mode(&home, &guest)),
        ("uefi".into(), "uefi".into())
    );
    let size = guest.says("df -BM --output=size / | tail -1 | tr -dc 0-9");
    assert!(
        size.parse::<u64>().expect("MiB") > 2600,
        "its root has grown: {size} MiB"
    );
    let volume = gets_a_volume(&home, &guest);
    gives_it_back(&home, &guest, &volume);
    guest.exec(SET).succeeds();
    home.kiln(&["image", "create", guest.id(), "--name", "bake", "--no-reboot"])
        .succeeds();
    home.kiln(&["terminate", guest.id()]).succeeds();
    let copy = home.launch("bake", &[PATIENCE]);
    assert_eq!(copy.says(GET), "baked");
    home.is_whole();
}

/// Digits of what the variable [`COUNT`] says, and so the bytes that make up most of it: enough for a write to be seen
/// while it is under way, few enough for the store to take hundreds of them, which it does before it is cleaned up.
const DIGITS: usize = 512;

/// Counts in a variable, which has to be made mutable once it is there; the loop ends when the store is full.
const COUNT: &str = "f=/sys/firmware/efi/efivars/Count-2f7e3c1a-6f0b-4d53-9a3e-5b7c1d2e4f60; n=0; \
    while n=$((n+1)); printf '\\7\\0\\0\\0%0512d' $n >$f; do chattr -i $f; done </dev/null >/dev/null 2>&1 &";
/// What it says, without what stands before the number.
const COUNTED: &str = "cat /sys/firmware/efi/efivars/Count-2f7e3c1a-6f0b-4d53-9a3e-5b7c1d2e4f60 | tail -c +5";
/// Has it say something else.
const RESET: &str = "f=/sys/firmware/efi/efivars/Count-2f7e3c1a-6f0b-4d53-9a3e-5b7c1d2e4f60; \
    chattr -i $f && printf '\\7\\0\\0\\0again' >$f";

/// A store of variables, as it is in its file.
struct Store(Vec<u8>);

impl Store {
    fn of(guest: &Guest<'_>) -> Store {
        let file = guest
            .home()
            .path()
            .join("instances")
            .join(guest.id())
            .join("variables.fd");
        Store(std::fs::read(file).expect("a guest that UEFI booted has variables"))
    }

    /// Where what was written to it last ends. The second half is the spare one of the firmware's own journal, of which
    /// two blocks before tell; in what is left the variables stand one behind the other.
    fn end(&self) -> usize {
        let variables = &self.0[..self.0.len() / 2 - 0x2000];
        variables.iter().rposition(|byte| *byte != 0xff).unwrap_or(0)
    }

    /// The highest number that the guest has counted to and that is there to its last digit.
    fn counted(&self) -> Option<u64> {
        let digits = self.0.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
        let whole = digits.filter(|digits| digits.len() == DIGITS && digits[0].is_ascii_digit());
        let numbers = whole.filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        numbers.max()
    }
}

#[test]
fn hazard_a_vmm_killed_while_its_guest_writes_a_uefi_variable_leaves_it_as_it_was_before_or_after() {
    let home = Home::new();
    let guest = home.launch(IMAGE, &["--boot", "uefi", PATIENCE]);
    guest.exec(SET).succeeds();
    guest.exec(COUNT).succeeds();
    let (vmm, began) = (guest.vmm(), Instant::now());
    let awaited = |pause, wanted: &dyn Fn(&Store) -> bool| {
        while !wanted(&Store::of(&guest)) {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "it has not counted far"
            );
            std::thread::sleep(pause);
        }
    };
    awaited(Duration::from_millis(100), &|store| store.counted() >= Some(20));
    // A moment after the next write has begun, which takes longer.
    let end = Store::of(&guest).end();
    awaited(Duration::ZERO, &|store| store.end() != end);
    // SAFETY: kill has no memory effects; the process is this test's own guest.
    unsafe { libc::kill(vmm, libc::SIGKILL) };
    guest.becomes("stopped", 120);
    let left = Store::of(&guest).counted().expect("it had counted");

    home.kiln(&["start", guest.id()]).succeeds();
    home.kiln(&["wait", guest.id(), "agent"]).succeeds();
    assert_eq!(guest.booted_by(), "uefi");
    assert_eq!(guest.says(GET), "baked");
    let counted = guest.says(COUNTED);
    println!("figure: killed at {left}, which is {counted}");
    assert_eq!(counted.len(), DIGITS, "{counted}");
    // All digits of the last one may be there, and not yet the mark which says so.
    let counted: u64 = counted.parse().expect("a number");
    assert!([left, left - 1].contains(&counted), "{counted} of {left}");
    guest.exec(RESET).succeeds();
    assert_eq!(guest.says(COUNTED), "again");
    home.is_whole();
}

#[test]
fn what_an_image_is_not_made_for_is_refused() {
    let home = Home::new();
    for boot in ["bios", "uefi"] {
        home.kiln(&["run", "tiny", "--boot", boot])
            .fails(1, &["InvalidParameterCombination", "paravirtual"]);
    }
    let image = &home.json(&["image", "show", IMAGE])["Images"][0];
    assert_eq!(image["VirtualizationType"], "hvm");
    assert_eq!(image["BootMode"], "uefi-preferred");
    for sound in [IMAGE, "debian", "tiny"] {
        let doctor = home.json(&["image", "doctor", sound]);
        assert_eq!(doctor["Findings"].as_array().map(Vec::len), Some(0), "{doctor}");
    }
}

#[test]
fn a_whole_disk_boots_from_the_menu_of_its_root_which_takes_a_larger_volume() {
    let home = Home::new();
    let guest = home.launch(IMAGE, &["--boot", "fast", "--root-size", "4G"]);
    let log = guest.vmm_log();
    assert!(log.contains("(hd0,0)/boot/grub/grub.cfg"), "{log}");
    let size = guest.says("df --output=size -BM / | tail -n 1");
    let size: u32 = size.trim().trim_end_matches('M').parse().expect("a number");
    assert!(size > 3500, "{size} MiB");
    assert_eq!(guest.says("ls /boot/efi/EFI/BOOT"), "BOOTX64.EFI");
    let stop = home.kiln(&["stop", guest.id(), "--timeout", "240"]).succeeds();
    assert!(!stop.stderr.contains("warning:"), "a clean stop: {}", stop.stderr);
    // What the installation of a kernel runs: the menu names the root by its UUID as the image's did.
    home.kiln(&["start", guest.id()]).succeeds();
    let root = guest.says("findmnt -no UUID /");
    let menu = guest.says("update-grub 2>/dev/null; cat /boot/grub/grub.cfg");
    assert!(menu.contains(&format!("root=UUID={root} ")), "{menu}");
}
