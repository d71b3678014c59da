//! `disks.freeze`: all disks or none, and no guest frozen for ever.

use std::os::fd::OwnedFd;

use super::fake::FakeAgent;
use super::*;
use crate::control::wire::{FreezeDisk, FreezeRequest, Quiesce};
use crate::control::{FileId, lines};

fn overlays(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| tempfile::tempfile().unwrap().into()).collect()
}

fn request(ids: &[&str], quiesce: Quiesce) -> FreezeRequest {
    let disks = ids.iter().map(|&id| FreezeDisk { id: id.to_owned() }).collect();
    FreezeRequest { disks, quiesce }
}

#[test]
fn a_freeze_swaps_all_disks_behind_closed_gates() {
    let served = Served::new(with_disks(vec![disk("vol-a"), disk("vol-b"), disk("vol-c")]));
    let overlays = overlays(2);
    let reply = served
        .client()
        .freeze(&request(&["vol-c", "vol-a"], Quiesce::None), &overlays)
        .unwrap();
    assert!(!reply.quiesced && reply.warning.is_none());
    let tops: Vec<_> = served
        .client()
        .status()
        .unwrap()
        .disks
        .into_iter()
        .map(|d| d.top)
        .collect();
    let of = |file: &OwnedFd| Some(FileId::of(file).unwrap());
    assert_eq!(tops, [of(&overlays[1]), None, of(&overlays[0])]);
}

#[test]
fn a_freeze_that_cannot_be_whole_changes_nothing() {
    let bad = [
        (
            FakeDisk {
                refuses: true,
                ..disk("vol-b")
            },
            ErrorKind::Overlay,
        ),
        (
            FakeDisk {
                never_drains: true,
                ..disk("vol-b")
            },
            ErrorKind::Deadline,
        ),
        (disk("vol-other"), ErrorKind::NoSuchDisk),
    ];
    for (second, expected) in bad {
        let served = Served::new(with_disks(vec![disk("vol-a"), second]));
        let error = served
            .client()
            .freeze(&request(&["vol-a", "vol-b"], Quiesce::None), &overlays(2))
            .unwrap_err();
        assert_eq!(kind(&error), expected);
        for disk in &served.machine.disks {
            assert_eq!(disk.swaps.load(Ordering::SeqCst), 0, "{error}");
            assert!(!disk.closed.load(Ordering::SeqCst), "{error}");
        }
    }
}

#[test]
fn requests_that_name_a_disk_twice_or_bring_too_few_overlays_are_refused() {
    let served = Served::new(with_disks(vec![disk("vol-a")]));
    let mut client = served.client();
    let twice = client.freeze(&request(&["vol-a", "vol-a"], Quiesce::None), &overlays(2));
    assert_eq!(kind(&twice.unwrap_err()), ErrorKind::Malformed);
    let few = client.freeze(&request(&["vol-a"], Quiesce::None), &[]);
    assert_eq!(kind(&few.unwrap_err()), ErrorKind::Overlay);
}

#[test]
fn a_failed_sync_is_told_apart_from_a_failed_swap_and_seen_afterwards() {
    let bad = FakeDisk {
        cannot_sync: true,
        ..disk("vol-b")
    };
    let served = Served::new(with_disks(vec![disk("vol-a"), bad]));
    let unsynced = || -> Vec<bool> {
        let disks = served.client().status().unwrap().disks;
        disks.into_iter().map(|disk| disk.unsynced).collect()
    };
    assert_eq!(unsynced(), [false, false]);
    let error = served
        .client()
        .freeze(&request(&["vol-a", "vol-b"], Quiesce::None), &overlays(2))
        .unwrap_err();
    assert_eq!(kind(&error), ErrorKind::NotSynced);
    assert_eq!(served.machine.disks[1].swaps.load(Ordering::SeqCst), 1);
    assert_eq!(unsynced(), [false, true]);
}

fn with_agent(agent: FakeAgent) -> FakeMachine {
    FakeMachine {
        agent: Some(Arc::new(agent)),
        ..with_disks(vec![disk("vol-a")])
    }
}

#[test]
fn file_systems_are_frozen_around_the_swap_and_thawed_after_it() {
    let served = Served::new(with_agent(FakeAgent::default()));
    let quiesce = Quiesce::Agent { deadline_ms: 60_000 };
    let reply = served
        .client()
        .freeze(&request(&["vol-a"], quiesce), &overlays(1))
        .unwrap();
    assert!(reply.quiesced && reply.warning.is_none());
    let agent = served.machine.agent.as_ref().unwrap();
    assert!(!*agent.frozen.lock().unwrap());
    assert_eq!(agent.thaws.load(Ordering::SeqCst), 1);
}

#[test]
fn without_an_agent_the_freeze_happens_and_warns() {
    let served = Served::new(with_disks(vec![disk("vol-a")]));
    let quiesce = Quiesce::Agent { deadline_ms: 5000 };
    let reply = served
        .client()
        .freeze(&request(&["vol-a"], quiesce), &overlays(1))
        .unwrap();
    assert!(!reply.quiesced);
    assert!(reply.warning.unwrap().contains("no port for a guest agent"));
}

#[test]
fn hazard_a_guest_is_thawed_at_the_deadline() {
    let slow = Some(Duration::from_secs(120));
    let served = Served::new(with_agent(FakeAgent {
        slow,
        ..FakeAgent::default()
    }));
    let quiesce = Quiesce::Agent { deadline_ms: 100 };
    let started = Instant::now();
    let reply = served
        .client()
        .freeze(&request(&["vol-a"], quiesce), &overlays(1))
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(!reply.quiesced && reply.warning.unwrap().contains("deadline"));
    let agent = served.machine.agent.as_ref().unwrap();
    assert!(!*agent.frozen.lock().unwrap());
}

#[test]
fn hazard_a_guest_is_thawed_when_the_caller_dies_in_the_middle_of_a_freeze() {
    let slow = Some(Duration::from_secs(120));
    let served = Served::new(with_agent(FakeAgent {
        slow,
        ..FakeAgent::default()
    }));
    let mut lines = lines::Lines::new(served.socket());
    let overlay = tempfile::tempfile().unwrap();
    let text = concat!(
        r#"{"v":1,"id":1,"verb":"disks.freeze","args":{"disks":[{"id":"vol-a"}],"#,
        r#""quiesce":{"kind":"agent","deadline_ms":60000}}}"#
    );
    let descriptors = [std::os::fd::AsFd::as_fd(&overlay)];
    lines
        .write(text.as_bytes(), &descriptors, Duration::from_secs(1))
        .unwrap();
    let agent = served.machine.agent.as_ref().unwrap();
    until("the freeze", || *agent.frozen.lock().unwrap());
    drop(lines);
    // Long before the deadline, and before the freeze would end by itself.
    until("the thaw", || !*agent.frozen.lock().unwrap());
    // Nothing was swapped on behalf of nobody, and the next one is served.
    let quiesce = Quiesce::None;
    until("the end of the first", || {
        served
            .client()
            .freeze(&request(&["vol-a"], quiesce), &overlays(1))
            .is_ok()
    });
    assert_eq!(served.machine.disks[0].swaps.load(Ordering::SeqCst), 1);
}

#[test]
fn two_freezes_at_once_do_not_meet() {
    let slow = Some(Duration::from_secs(60));
    let served = Served::new(with_agent(FakeAgent {
        slow,
        ..FakeAgent::default()
    }));
    let quiesce = Quiesce::Agent { deadline_ms: 60_000 };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            served
                .client()
                .freeze(&request(&["vol-a"], quiesce), &overlays(1))
        });
        let agent = served.machine.agent.as_ref().unwrap();
        until("the first", || *agent.frozen.lock().unwrap());
        let second = served
            .client()
            .freeze(&request(&["vol-a"], quiesce), &overlays(1));
        assert_eq!(kind(&second.unwrap_err()), ErrorKind::Busy);
        *agent.frozen.lock().unwrap() = false;
        assert!(first.join().unwrap().unwrap().quiesced);
    });
}
