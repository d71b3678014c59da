//! `kiln stats` at a guest that computes.
//!
//! `make test` runs these on a host with a `/dev/kvm` here, else in the software machine.

mod micro;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use micro::{Micro, until};

fn document(guest: &Micro) -> serde_json::Value {
    let ended = guest
        .command(&["--output", "json", "stats"])
        .output()
        .expect("kiln runs");
    assert!(ended.status.success(), "{ended:?}");
    serde_json::from_slice(&ended.stdout).expect("a document")
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn what_a_running_instance_takes_is_told_in_every_form() {
    let guest = Micro::start();
    let id = guest.instance.as_str();
    until("some processor time", || {
        document(&guest)["Statistics"][0]["CpuSeconds"].as_f64() > Some(0.1)
    });
    let of = document(&guest)["Statistics"][0].clone();
    assert_eq!(of["InstanceId"], id);
    assert!(of["UptimeSeconds"].as_f64() > Some(0.0), "{of}");
    assert_eq!(of["MemoryBytes"], 512 << 20, "{of}");
    let resident = of["ResidentBytes"].as_u64().expect("a number");
    assert!((1 << 20..512 << 20).contains(&resident), "{of}");
    assert_eq!(of["Disks"][0]["ReadOps"], 0, "this guest has no driver: {of}");
    let table = guest.command(&["stats", id]).output().expect("kiln runs");
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        table.starts_with("INSTANCE") && table.contains(id) && table.contains("of 512 MiB"),
        "{table}"
    );
    let ids = guest.command(&["-q", "stats"]).output().expect("kiln runs");
    assert_eq!(String::from_utf8_lossy(&ids.stdout).trim(), id);
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn statistics_are_watched_without_control_characters_in_a_pipe() {
    let guest = Micro::start();
    let mut child = guest
        .command(&["stats", "--watch=1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for _ in 0..2 {
        let head = lines.next().expect("a line").expect("text");
        assert!(head.starts_with("INSTANCE"), "{head:?}");
        let row = lines.next().expect("a line").expect("text");
        assert!(row.starts_with(guest.instance.as_str()), "{row:?}");
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
}

#[test]
#[ignore = "needs /dev/kvm: make test runs it"]
fn an_instance_that_does_not_run_has_no_statistics_and_is_named() {
    let guest = Micro::start();
    guest.kill();
    let ended = guest
        .command(&["stats", guest.instance.as_str()])
        .output()
        .expect("kiln runs");
    let error = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        ended.status.code() == Some(1) && error.contains("stopped"),
        "{error}"
    );
    let all = guest.command(&["-q", "stats"]).output().expect("kiln runs");
    assert!(all.status.success() && all.stdout.is_empty(), "{all:?}");
}
