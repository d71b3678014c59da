//! A real Debian guest: launched, changed, baked, the bake launched.

use kiln_tests::Home;

#[test]
fn debian_is_changed_and_baked_and_two_of_the_bake_run_at_once() {
    let home = Home::new();
    let guest = home.launch("debian", &["--name", "original"]);
    assert!(guest.says("uname -r").contains("-cloud-amd64"));
    // Every job of the boot ended, none by waiting in vain, and no unit failed.
    let state =
        "timeout 300 systemctl is-system-running --wait || systemctl list-units --failed --plain --no-legend";
    assert_eq!(guest.says(state), "running");
    let waited =
        "journalctl --no-pager -b _PID=1 | grep -i -e 'timed out' -e 'dependency failed' || echo none";
    assert_eq!(guest.says(waited), "none");
    let release = guest.says(". /etc/os-release; echo $VERSION_CODENAME");
    assert_eq!(release, kiln_tests::suite());
    guest.exec("echo baked > /root/mark").succeeds();
    guest
        .exec("(while true; do date +%s%N >> /root/log; done) >/dev/null 2>&1 &")
        .succeeds();
    home.kiln(&["image", "create", "original", "--name", "live", "--no-reboot"])
        .succeeds();
    home.kiln(&["image", "create", "original", "--name", "rebooted"])
        .succeeds();

    // Both boot at once: what there is of an emulated processor is theirs.
    home.kiln(&["terminate", "original"]).succeeds();
    let ids = home
        .kiln(&[
            "-q",
            "run",
            "live",
            "--count",
            "2",
            "--wait",
            "agent",
            "--agent-timeout",
            "600",
        ])
        .succeeds()
        .text();
    let mut machine_ids = vec![];
    for id in ids.lines() {
        let mark = home.kiln(&["exec", id, "--", "cat", "/root/mark"]).succeeds();
        assert_eq!(mark.text(), "baked");
        machine_ids.push(
            home.kiln(&["exec", id, "--", "cat", "/proc/sys/kernel/random/boot_id"])
                .succeeds()
                .text(),
        );
    }
    assert_ne!(machine_ids[0], machine_ids[1]);
    home.is_whole();
}

#[test]
fn an_upgraded_kernel_is_what_boots_next() {
    let home = Home::new();
    let guest = home.launch("debian", &[]);
    // A second kernel stands in for the upgrade's new one: the hooks that its package would run write the menu.
    guest
        .exec(
            "set -e; v=$(uname -r); cd /boot; cp -a vmlinuz-$v vmlinuz-9.9.9-cloud-amd64; \
             cp -a initrd.img-$v initrd.img-9.9.9-cloud-amd64; cp -a config-$v config-9.9.9-cloud-amd64; \
             for hook in /etc/kernel/postinst.d/*menu*; do \
             DEB_MAINT_PARAMS=configure $hook 9.9.9-cloud-amd64 /boot/vmlinuz-9.9.9-cloud-amd64; done; sync",
        )
        .succeeds();
    home.kiln(&["reboot", guest.id()]).succeeds();
    guest.exec("true").succeeds();
    let log = guest.vmm_log();
    let taken = log
        .lines()
        .rfind(|line| line.contains("chosen from the boot menu"))
        .expect("a menu entry");
    assert!(taken.contains("9.9.9"), "the menu's first entry: {taken}");
}
