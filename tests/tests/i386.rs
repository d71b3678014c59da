//! A whole disk of 32 bits, kernel and programs, boots through a BIOS and by its own menu.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::{Guest, Home};

/// Firmware, boot loader and systemd, one after another, where virtualization is emulated.
const PATIENCE: Duration = Duration::from_secs(600);

/// Waits until the guest's serial console has shown `text`.
#[track_caller]
fn shows(guest: &Guest<'_>, text: &str) {
    let began = Instant::now();
    while !guest.log().contains(text) {
        assert!(
            began.elapsed() < PATIENCE,
            "`{text}` does not show:\n{}",
            guest.log()
        );
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Types a line at the shell of root that waits on the serial console.
fn types(home: &Home, guest: &Guest<'_>, line: &str) {
    let kiln = home.command(&[] as &[&str]);
    let console = format!("exec {} console {}", kiln.get_program().display(), guest.id());
    let mut terminal = Command::new("script")
        .args(["-qec", &console, "/dev/null"])
        .env("KILN_HOME", home.path())
        .env("KILN_ACCEL", "kvm")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("script(1) starts");
    let mut keys = terminal.stdin.take().expect("a pipe");
    std::thread::sleep(Duration::from_secs(2));
    keys.write_all(format!("\r{line}\r").as_bytes())
        .expect("it reads");
    std::thread::sleep(Duration::from_secs(2));
    keys.write_all(b"\x1d").expect("it reads");
    assert!(terminal.wait().expect("it ends").success());
}

#[test]
fn a_debian_of_32_bits_boots_by_a_bios_and_by_its_menu_with_a_kernel_and_programs_of_32_bits() {
    let home = Home::new();
    let image = &home.json(&["image", "show", "debian-i386"])["Images"][0];
    assert_eq!(image["Architecture"], "i386");
    for (boot, by) in [("fast", "32-bit Linux boot protocol"), ("bios", "SeaBIOS")] {
        let id = home
            .kiln(&["-q", "run", "debian-i386", "--boot", boot])
            .succeeds()
            .text();
        let guest = Guest::new(&home, id);
        shows(&guest, "root@");
        // The shell's echo has the words apart.
        types(
            &home,
            &guest,
            "echo on''$(uname -m)-$(getconf LONG_BIT)-$(. /etc/os-release; echo $ID)",
        );
        shows(&guest, "oni686-32-debian");
        assert!(
            guest.log().contains(by) || guest.vmm_log().contains(by),
            "{}",
            guest.vmm_log()
        );
        home.kiln(&["terminate", guest.id()]).succeeds();
    }
    home.is_whole();
}
