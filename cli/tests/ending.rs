//! How instances end, at a guest that does not listen; and what a command says that is told to end before it is done.
//!
//! `make test` runs these on a host with a `/dev/kvm` here, else in the software machine.

mod micro;

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use micro::{Micro, until};
use rustix::process::{Pid, Signal, kill_process};

/// What a stop says that is told to end once it is at work.
fn interrupted_stop(guest: &Micro) -> String {
    let mut child = guest
        .command(&["stop", guest.instance.as_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    until("it is at work, or has ended", || {
        state(guest) == "stopping" || child.try_wait().expect("a child").is_some()
    });
    // Not SIGINT: what runs in the background of a script ignores it, and this may.
    let sent = kill_process(Pid::from_child(&child), Signal::TERM);
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!((sent, ended.status.signal()), (Ok(()), Some(15)), "{ended:?}");
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

fn state(guest: &Micro) -> String {
    let ended = guest
        .command(&["--output", "json", "list", guest.instance.as_str()])
        .output()
        .expect("kiln runs");
    let document: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("a document");
    let of = &document["Reservations"][0]["Instances"][0];
    of["State"]["Name"].as_str().expect("a state").to_owned()
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn a_stop_that_is_interrupted_says_that_the_guest_goes_on_ending() {
    let guest = Micro::start();
    let said = interrupted_stop(&guest);
    assert!(said.contains("interrupted: the guest goes on ending"), "{said}");
    assert_eq!(state(&guest), "stopping");
    guest.kill();
    assert_eq!(state(&guest), "stopped");
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn an_instance_that_is_gone_already_has_not_to_be_waited_for_by_its_name_either() {
    let guest = Micro::start();
    let id = guest.instance.as_str();
    let kiln = |arguments: &[&str]| {
        let ended = guest.command(arguments).output().expect("kiln runs");
        (
            ended.status.code(),
            String::from_utf8_lossy(&ended.stderr).into_owned(),
        )
    };
    assert_eq!(kiln(&["tag", id, "Name=web"]).0, Some(0));
    assert_eq!(kiln(&["terminate", "web"]).0, Some(0));
    for which in [id, "web"] {
        assert_eq!(
            kiln(&["wait", which, "terminated"]),
            (Some(0), String::new()),
            "{which}"
        );
    }
    let (status, said) = kiln(&["wait", "web", "running"]);
    assert!(
        status == Some(1) && said.contains("InvalidInstanceID.NotFound"),
        "{said}"
    );
    assert_eq!(kiln(&["wait", "other", "terminated"]).0, Some(1));
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn an_instance_that_is_gone_is_not_taken_for_another_of_a_longer_name_nor_for_those_of_its_own() {
    let guest = Micro::start();
    let id = guest.instance.as_str();
    let kiln = |arguments: &[&str]| guest.command(arguments).output().expect("kiln runs");
    kiln(&["tag", id, "Name=web"]);
    kiln(&["terminate", "web"]);
    let [longer, other] = [guest.launch(), guest.launch()];
    kiln(&["tag", longer.as_str(), "Name=web-2"]);
    let gone = kiln(&["wait", "web", "terminated", "--timeout", "1"]);
    assert_eq!(gone.status.code(), Some(0), "{gone:?}");
    for one in [&longer, &other] {
        kiln(&["tag", one.as_str(), "Name=web"]);
    }
    let refused = kiln(&["wait", "web", "terminated", "--timeout", "1"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && said.contains("more than one"),
        "{said}"
    );
    for one in [&longer, &other] {
        kiln(&["terminate", one.as_str()]);
    }
}
