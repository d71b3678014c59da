//! A store on a disk that is full: commands say so, and a guest of a few instructions goes on.
//!
//! `make test` runs this on a host with a `/dev/kvm` here, else in the software machine.

mod micro;

use kiln_tests::SmallDisk;
use micro::{Micro, until};

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn a_full_disk_is_named_at_whichever_step_it_is_met_and_nothing_is_left_over() {
    let Some(disk) = SmallDisk::here() else {
        let own = "a_full_disk_is_named_at_whichever_step_it_is_met_and_nothing_is_left_over";
        return SmallDisk::start(own, 24, &[]);
    };
    let guest = Micro::start();
    let kiln = |arguments: &[&str]| {
        let output = guest.command(arguments).output().expect("kiln runs");
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("UTF-8"));
        (output.status.code(), out, err)
    };
    let volume = kiln(&["-q", "volume", "list"]).1;
    // From no room to enough, a page more each time: every step of the work meets the full disk.
    let (mut errors, mut cut_short) = (String::new(), 0);
    for pages in 0.. {
        assert!(pages < 100, "400 KiB are not enough");
        disk.fill(pages * 4096);
        let (status, _, said) = kiln(&["snapshot", "create", volume.trim()]);
        disk.clear();
        let check = kiln(&["--output", "json", "check"]).1;
        let check: serde_json::Value = serde_json::from_str(&check).expect("a document");
        assert_eq!(check["Findings"], serde_json::json!([]), "{pages} pages");
        if status == Some(0) {
            break;
        }
        assert!(
            status == Some(1) && said.ends_with(" [InsufficientVolumeCapacity]\n"),
            "{pages} pages: {status:?} {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        cut_short += usize::from(said.contains("to be finished or undone by the next command"));
        errors += &said;
    }
    assert!(kiln(&["list"]).1.contains("running"), "the guest goes on");
    guest.kill();
    until("its end is seen", || kiln(&["list"]).1.contains("stopped"));
    // The image's, the one for which there was room, and what a later command was said to finish.
    let listed = kiln(&["-q", "snapshot", "list"]).1.lines().count();
    assert!(
        (2..=2 + cut_short).contains(&listed),
        "{listed} snapshots, {cut_short} of them open"
    );
    for step in [
        "error: open the catalogue",
        "error: the catalogue",
        ": create layer-",
    ] {
        assert!(errors.contains(step), "nothing of {step:?} in {errors}");
    }
}
