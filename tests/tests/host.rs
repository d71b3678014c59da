//! What a hostile or broken host folder, a full disk or a second command does to an instance.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use kiln_tests::{Home, SmallDisk};

#[test]
fn hazard_links_in_the_instances_folder_are_not_followed() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    home.kiln(&["stop", guest.id()]).succeeds();
    let folder = home.path().join("instances").join(guest.id());
    let canary = home.file("canary");
    for name in [
        "spec.json",
        "console.log",
        "exit.json",
        "vmm.log",
        "control.sock",
        "agent.sock",
        "lock",
    ] {
        fs::write(&canary, "untouched").expect("a canary");
        let _ = fs::remove_file(folder.join(name));
        symlink(&canary, folder.join(name)).expect("a link");
        let start = home.kiln(&["start", guest.id()]);
        assert_eq!(
            fs::read_to_string(&canary).expect("the canary"),
            "untouched",
            "{name} was followed"
        );
        if start.status == 0 {
            home.kiln(&["stop", guest.id(), "--force"]).succeeds();
        }
        let _ = fs::remove_file(folder.join(name));
    }
}

#[test]
fn hazard_the_vmm_holds_no_other_file_than_its_own() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    let own = home.path();
    for process in guest.processes() {
        let environment = fs::read(format!("/proc/{process}/environ")).expect("its environment can be read");
        assert!(
            !String::from_utf8_lossy(&environment).contains("KILN_TEST"),
            "the environment leaks"
        );
        for entry in fs::read_dir(format!("/proc/{process}/fd")).expect("its descriptors can be listed") {
            let entry = entry.expect("an entry");
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            let name = target.to_string_lossy().into_owned();
            let device = ["/dev/kvm", "/dev/null", "/dev/urandom"].contains(&name.as_str());
            let anonymous = ["anon_inode:", "socket:", "pipe:", "/memfd:"]
                .iter()
                .any(|k| name.starts_with(k));
            assert!(
                device || anonymous || target.starts_with(&own),
                "process {process} holds {name}"
            );
        }
    }
}

#[test]
fn every_thread_of_the_vmm_is_confined() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    for entry in fs::read_dir(format!("/proc/{}/task", guest.vmm())).expect("its threads can be listed") {
        let status = fs::read_to_string(entry.expect("an entry").path().join("status")).expect("a status");
        for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"] {
            assert!(status.contains(line), "no {line:?} in {status}");
        }
    }
}

#[test]
fn two_commands_at_once_on_one_instance_never_break_it() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    let commands = [
        vec!["image", "create", guest.id(), "--name", "one"],
        vec!["image", "create", guest.id(), "--name", "two", "--no-reboot"],
        vec!["stop", guest.id()],
        vec!["reboot", guest.id()],
        vec!["terminate", guest.id()],
    ];
    let children: Vec<_> = commands
        .iter()
        .map(|c| {
            home.command(c)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("kiln starts")
        })
        .collect();
    for (child, command) in children.into_iter().zip(&commands) {
        let out = child.wait_with_output().expect("kiln ends");
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            out.status.success() || error.contains("error: "),
            "{command:?}: {error}"
        );
        assert!(!error.contains("panicked"), "{command:?}: {error}");
    }
    home.kiln(&["terminate", guest.id()]).succeeds();
    home.is_whole();
}

/// Names the image that is launched on a small disk.
const IMAGE: &str = "KILN_TEST_IMAGE";

#[test]
fn a_full_disk_loses_nothing() {
    let Some(disk) = SmallDisk::here() else {
        let home = Home::new();
        let image = home.file("tiny.qcow2");
        home.kiln(&["image", "export", "tiny", image.to_str().expect("UTF-8")])
            .succeeds();
        return SmallDisk::start("a_full_disk_loses_nothing", 200, &[(IMAGE, image.as_ref())]);
    };
    let image = std::env::var(IMAGE).expect("it was started with one");
    let home = Home::empty();
    home.kiln(&["image", "import", &image, "--name", "tiny", "--boot", "pv"])
        .succeeds();
    let guest = home.launch("tiny", &[]);
    guest.exec("echo before > /root/mark; sync").succeeds();
    let bake = |name: &str| home.kiln(&["image", "create", guest.id(), "--name", name, "--no-reboot"]);
    // Without any room, and with hardly more than it takes to open the catalogue.
    for room in [0, 40 << 10] {
        disk.fill(room);
        bake("too-full").fails(1, &["[InsufficientVolumeCapacity]"]);
        disk.clear();
        assert_eq!(guest.says("cat /root/mark"), "before");
        guest
            .exec("echo after > /root/new; sync; rm /root/new; sync")
            .succeeds();
        home.is_whole();
    }
    bake("roomy").succeeds();
    assert_eq!(home.launch("roomy", &[]).says("cat /root/mark"), "before");
    home.is_whole();
}
