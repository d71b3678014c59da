//! A guest whose menu is written by its own distribution's tools.

use kiln_tests::{Guest, Home};

/// Debian's GRUB 2 takes the place of the menu that the image came with, and there is a second kernel. The
/// image's initramfs finds no UUIDs: it is without udev.
const SWITCH: &str = "set -e; v=$(uname -r); cd /boot
    for name in vmlinuz initrd.img config; do cp -a $name-$v $name-9.9.9-cloud-amd64; done
    printf 'GRUB_DEFAULT=saved\\nGRUB_DISABLE_LINUX_UUID=true\\nGRUB_CMDLINE_LINUX=console=ttyS0\\nGRUB_CMDLINE_LINUX_DEFAULT=quiet\\n' >/etc/default/grub
    grub-mkconfig -o /boot/grub/grub.cfg
    grub-editenv /boot/grub/grubenv create
    grub-editenv /boot/grub/grubenv set saved_entry=0 next_entry='1>2'
    mv /boot/grub/menu.lst /boot/grub/menu.lst.old; sync";

/// Stops it and starts it again; the line of the log that says what was chosen.
fn restarted(home: &Home, guest: &Guest<'_>) -> String {
    let stop = home.kiln(&["stop", guest.id()]).succeeds();
    assert!(!stop.stderr.contains("force"), "a clean stop: {}", stop.stderr);
    home.kiln(&["start", guest.id()]).succeeds();
    guest.exec("true").succeeds();
    let log = guest.vmm_log();
    let mut lines = log.lines();
    let chosen = lines.rfind(|line| line.contains("chosen from the boot menu"));
    chosen.expect("a menu entry").to_string()
}

#[test]
fn debian_boots_by_grub_2_and_an_entry_that_is_asked_for_once_is_booted_once() {
    let home = Home::new();
    let guest = home.launch("debian", &[]);
    let release = guest.says("uname -r");
    guest.exec(SWITCH).succeeds();
    let once = restarted(&home, &guest);
    assert!(
        once.contains("/boot/grub/grub.cfg") && once.contains(&format!("/boot/vmlinuz-{release}")),
        "{once}"
    );
    assert!(once.contains("asked for once"), "{once}");
    let listed = guest.says("grub-editenv /boot/grub/grubenv list");
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        ["saved_entry=0", "next_entry="]
    );
    let saved = restarted(&home, &guest);
    assert!(saved.contains("/boot/vmlinuz-9.9.9-cloud-amd64"), "{saved}");
    assert!(saved.contains("saved default"), "{saved}");
}

/// kernel-install makes the only menu that is left.
const INSTALL: &str = "set -e; v=$(uname -r); mkdir -p /boot/loader/entries /etc/kernel
    echo layout=bls >/etc/kernel/install.conf; echo 'root=/dev/vda ro console=ttyS0 quiet' >/etc/kernel/cmdline
    kernel-install add $v /boot/vmlinuz-$v /boot/initrd.img-$v
    mv /boot/grub/menu.lst /boot/grub/menu.lst.old; sync";

#[test]
fn debian_boots_by_an_entry_that_kernel_install_wrote() {
    let home = Home::new();
    let guest = home.launch("debian", &[]);
    guest.exec(INSTALL).succeeds();
    let chosen = restarted(&home, &guest);
    let title = guest.says(". /etc/os-release; echo $PRETTY_NAME");
    assert!(
        chosen.contains("/boot/loader/entries") && chosen.contains(&title),
        "{chosen}"
    );
    assert!(guest.says("cat /proc/cmdline").contains("systemd.machine_id="));
}
