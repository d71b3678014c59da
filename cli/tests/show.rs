//! `kiln show` at guests of a few instructions.
//!
//! `make test` runs this on a host with a `/dev/kvm` here, else in the software machine.

#[allow(dead_code, reason = "nothing is waited for here, and the guests stay")]
mod micro;

use kiln_control::HugePages;
use micro::Micro;

/// What a command says that succeeds.
fn said(guest: &Micro, arguments: &[&str]) -> String {
    let ended = guest.command(arguments).output().expect("kiln runs");
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).expect("UTF-8")
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn the_pages_of_an_instance_are_shown_unless_they_are_the_default() {
    let guest = Micro::start();
    // Small ones every host has.
    let small = guest.launch_in(HugePages::Off);
    let kiln = |arguments: &[&str]| said(&guest, arguments);
    for (id, pages) in [(&guest.instance, None), (&small, Some("off"))] {
        let json = kiln(&["--output", "json", "show", id.as_str()]);
        let document: serde_json::Value = serde_json::from_str(&json).expect("a document");
        let of = &document["Reservations"][0]["Instances"][0];
        assert_eq!(
            of.get("HugePages").and_then(|pages| pages.as_str()),
            pages,
            "{of}"
        );
        let table = kiln(&["show", id.as_str()]);
        let line = table.lines().find_map(|line| line.strip_prefix("huge pages"));
        assert_eq!(line.map(str::trim), pages, "{table}");
    }
    kiln(&["terminate", small.as_str()]);
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn what_is_entered_at_an_instances_start_is_shown() {
    let guest = Micro::start();
    let kiln = |arguments: &[&str]| said(&guest, arguments);
    let json = kiln(&["--output", "json", "show", guest.instance.as_str()]);
    let document: serde_json::Value = serde_json::from_str(&json).expect("a document");
    let boot = &document["Reservations"][0]["Instances"][0]["Boot"];
    assert_eq!(boot["By"], "kernel");
    let words = boot["CommandLine"].as_str().expect("a command line");
    let table = kiln(&["show", guest.instance.as_str()]);
    let line = table.lines().find_map(|line| line.strip_prefix("boots by"));
    let told = format!("a kernel that was given, with {words}");
    assert_eq!(line.map(str::trim), Some(told.trim()), "{table}");
}
