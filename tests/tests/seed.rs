//! What a guest is told by its user.

use std::fs;

use kiln_tests::{Guest, Home};

/// Once a script of the user has written there: what.
fn written(guest: &Guest<'_>) -> String {
    guest.says(
        "i=0; until [ -s /root/ran ] || [ $i = 300 ]; do usleep 100000; i=$((i + 1)); done; cat /root/ran",
    )
}

#[test]
fn a_guest_has_its_instance_s_name_and_runs_its_user_s_script_once() {
    let home = Home::new();
    let script = |name: &str, word: &str| {
        let file = home.file(name);
        fs::write(
            &file,
            format!("#!/bin/sh\necho {word} $(hostname) >> /root/ran\nsync\n"),
        )
        .expect("a file");
        file.display().to_string()
    };
    let (first, second) = (script("first", "first"), script("second", "second"));
    let guest = home.launch("tiny", &["--user-data", &first]);
    let id = guest.id().to_owned();
    assert_eq!(written(&guest), format!("first {id}"));

    // It is no volume: whatever is plugged in is found, and what is baked has none.
    assert_eq!(
        home.json(&["volume", "list"])["Volumes"].as_array().map(Vec::len),
        Some(1)
    );
    let volume = home
        .kiln(&["-q", "volume", "create", "--size", "1G"])
        .succeeds()
        .text();
    home.kiln(&["volume", "attach", &volume, &id]).succeeds();
    assert!(guest.finds(&volume).starts_with("vd"));
    home.kiln(&["volume", "detach", &volume]).succeeds();
    for script in [
        "echo x > /run/seed/new",
        "dd if=/dev/zero of=/dev/vdb bs=512 count=1",
    ] {
        let refused = guest.exec(script);
        assert!(refused.status == 1, "{script}: {}", refused.stderr);
    }

    let large = home.file("large");
    fs::write(&large, vec![b'x'; 17 << 10]).expect("a file");
    let large = large.display().to_string();
    home.kiln(&["stop", &id]).succeeds();
    home.kiln(&["modify", &id, "--user-data", &large])
        .fails(1, &["large", "16384 are the most", "[InvalidParameterValue]"]);
    home.kiln(&["modify", &id, "--user-data", &second]).succeeds();
    home.kiln(&["start", &id]).succeeds();
    home.kiln(&["wait", &id, "agent"]).succeeds();
    assert_eq!(
        written(&guest),
        format!("first {id}"),
        "it is the instance that it was"
    );
    assert!(guest.says("cat /run/seed/user-data").contains("second"));

    home.kiln(&["image", "create", &id, "--name", "baked", "--no-reboot"])
        .succeeds();
    let other = home.launch("baked", &["--user-data", &second]);
    assert_eq!(written(&other), format!("first {id}\nsecond {}", other.id()));
    let silent = home.launch("baked", &[]);
    assert_eq!(silent.says("ls /dev/vd*"), "/dev/vda");
}
