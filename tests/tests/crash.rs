//! `kiln` and its VMM are killed at each step of a launch and of a bake: before or after, never between.

use kiln_tests::{Guest, Home};

/// The steps at which `kiln` can be told to die (`KILN_CRASH_POINT`), as the program itself lists them.
fn steps(home: &Home, operation: &str) -> Vec<String> {
    let listed = home.crash_points();
    let steps: Vec<String> = listed
        .lines()
        .filter(|s| s.starts_with(operation))
        .map(str::to_string)
        .collect();
    assert!(!steps.is_empty(), "no crash point of {operation}: {listed}");
    steps
}

/// Writes to the file system from within the guest, durably; a frozen one would keep it waiting.
fn goes_on_writing(guest: &Guest<'_>, n: usize) {
    let script = format!(
        "(echo > /root/writes-{n}; sync; mv /root/writes-{n} /root/wrote-{n}) </dev/null >/dev/null 2>&1 & \
         for i in $(seq 60); do [ -e /root/wrote-{n} ] && exit 0; sleep 1; done; exit 1"
    );
    guest.exec(&script).succeeds();
}

#[test]
fn hazard_a_bake_that_was_killed_is_there_whole_or_not_at_all() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    guest.exec("echo mine > /root/mark; sync").succeeds();
    for (n, step) in steps(&home, "create_image.").iter().enumerate() {
        let name = format!("killed-{n}");
        let killed = home.dies_at(
            step,
            &["image", "create", guest.id(), "--name", &name, "--no-reboot"],
        );
        if killed.status == 0 {
            // Without a reboot the guest is not ended, so there is nothing to start again.
            assert!(
                ["create_image.after_ending", "create_image.after_restart"].contains(&step.as_str()),
                "{step}"
            );
            continue;
        }
        assert_eq!(killed.status, 137, "{step}: {}", killed.stderr);
        goes_on_writing(&guest, n);
        home.is_whole();
        assert_eq!(guest.says("cat /root/mark"), "mine", "{step}: the guest goes on");
        let images = home.json(&["image", "list", "--filter", &format!("name={name}")]);
        match images["Images"].as_array().and_then(|i| i.first()) {
            None => {
                home.kiln(&["image", "create", guest.id(), "--name", &name, "--no-reboot"])
                    .succeeds();
            }
            Some(image) => assert_eq!(image["State"], "available", "{step}: {image}"),
        }
        home.is_whole();
    }
    let last = home.kiln(&["-q", "image", "list"]).succeeds().text();
    let copy = home.launch(last.lines().last().expect("an image"), &[]);
    assert_eq!(copy.says("cat /root/mark"), "mine");
}

#[test]
fn hazard_a_launch_that_was_killed_leaves_an_instance_that_can_be_ended_or_none() {
    let home = Home::new();
    for step in steps(&home, "run_instances.") {
        let killed = home.dies_at(&step, &["run", "tiny"]);
        assert_eq!(killed.status, 137, "{step}: {}", killed.stderr);
        home.is_whole();
        for id in home.kiln(&["-q", "list"]).succeeds().text().lines() {
            home.kiln(&["terminate", id]).succeeds();
        }
        assert_eq!(
            home.kiln(&["-q", "volume", "list"]).succeeds().text(),
            "",
            "{step}: a volume is left"
        );
        home.is_whole();
    }
}
