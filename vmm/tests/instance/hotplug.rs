//! Disks that come and go while a machine runs, inside the sandbox.

use std::os::fd::OwnedFd;
use std::path::Path;

use kiln_imagefmt::{Access, create_base, create_overlay, open_chain};
use kiln_vmm::arch::x86_64::layout::{HOTPLUG, PM};
use kiln_vmm::client::{ClientError, DiskStatus, ErrorKind, SavedFiles, Status, Unplug};
use kiln_vmm::legacy::power_management::GENERAL;
use kiln_vmm::pci::hotplug::{ASKED, EJECT, INSERTED};
use kiln_vmm::virtio::block::{BlockSpec, DiskFormat};

use crate::micro::{Micro, Program, open_files, until};
use crate::resources::own_memory;
use crate::{waiting, whole, whole_with};

const SIZE: u64 = 1 << 20;

/// How often a disk comes and goes where nothing may be left of it.
const ROUNDS: usize = 1000;

fn disk(id: &str) -> BlockSpec {
    BlockSpec {
        id: id.to_owned(),
        path: "not opened".into(),
        format: DiskFormat::Qcow2,
        read_only: false,
        queues: None,
        serial: None,
        slot: None,
    }
}

/// The files of a disk, from the bottom to the top.
fn files(top: &Path) -> Vec<OwnedFd> {
    let files = open_chain(top, Access::ReadWrite).unwrap();
    files.into_iter().map(OwnedFd::from).collect()
}

/// A disk of two layers.
fn two_layers(folder: &Path) -> Vec<OwnedFd> {
    create_base(&folder.join("below.qcow2"), SIZE).unwrap();
    create_overlay(&folder.join("data.qcow2"), "below.qcow2", SIZE).unwrap();
    files(&folder.join("data.qcow2"))
}

/// What is known of a disk that is there.
fn known(status: &Status, id: &str) -> Option<DiskStatus> {
    status.disks.iter().find(|disk| disk.id == id).cloned()
}

fn refusal(result: Result<impl std::fmt::Debug, ClientError>) -> ErrorKind {
    let error = result.unwrap_err();
    let ClientError::Refused { kind, .. } = error else {
        unreachable!("{error}")
    };
    kind
}

/// Waits until nothing is known of a disk any more, and nobody has its files open.
fn goes(machine: &Micro, id: &str) {
    until("the disk is gone", || {
        known(&machine.vmm().status().unwrap(), id).is_none()
    });
}

/// Lets go of whatever it is asked for, again and again: the registers of what is asked for, then of ejection.
fn letting_go() -> Program {
    Program::default()
        .print("up\n")
        .eject_for_ever(HOTPLUG + ASKED as u16, HOTPLUG + EJECT as u16)
}

#[test]
fn a_disk_is_plugged_in_asked_for_and_gone_once_the_guest_has_let_go_of_it() {
    let machine = whole_with(&letting_go());
    machine.printed("up");
    let files = two_layers(machine.path());
    let reply = machine.vmm().plug(&disk("vol-data"), &files).unwrap();
    drop(files);
    // The disk, entropy and the console are in the first three.
    assert_eq!(reply.slot, 4);
    let status = known(&machine.vmm().status().unwrap(), "vol-data").unwrap();
    assert!(!status.leaving);
    let (_, vmm) = machine.processes();
    let own = machine.path().canonicalize().unwrap();
    let is_open = |name: &str| open_files(vmm).contains(&own.join(name));
    assert!(is_open("data.qcow2") && is_open("below.qcow2"));
    machine.vmm().unplug("vol-data", Unplug::Ask).unwrap();
    goes(&machine, "vol-data");
    assert!(!is_open("data.qcow2") && !is_open("below.qcow2"));
    assert_eq!(
        refusal(machine.vmm().unplug("vol-data", Unplug::Ask)),
        ErrorKind::NoSuchDisk
    );
}

#[test]
fn the_event_says_that_something_came_and_the_register_in_which_slot() {
    // Waits for the general event's status, then prints which slots were filled: a character each, in hexadecimal.
    let program = Program::default()
        .print("up\n")
        .wait_for_bits(PM + GENERAL, 2)
        .print_port(HOTPLUG + INSERTED as u16)
        .print("seen\n")
        .halt();
    let machine = whole_with(&program);
    machine.printed("up");
    let files = two_layers(machine.path());
    machine.vmm().plug(&disk("vol-data"), &files).unwrap();
    machine.printed("seen");
    assert!(machine.console().contains("00000010"), "{}", machine.console());
}

#[test]
fn a_guest_that_holds_on_is_asked_again_and_keeps_its_disk_until_a_reset() {
    let machine = whole();
    machine.printed("up");
    machine
        .vmm()
        .plug(&disk("vol-data"), &two_layers(machine.path()))
        .unwrap();
    for _ in 0..3 {
        machine.vmm().unplug("vol-data", Unplug::Ask).unwrap();
        assert!(
            known(&machine.vmm().status().unwrap(), "vol-data")
                .unwrap()
                .leaving
        );
    }
    machine.vmm().reset().unwrap();
    goes(&machine, "vol-data");
    assert_eq!(machine.vmm().status().unwrap().disks.len(), 1);
    // One that nobody asked for stays.
    machine
        .vmm()
        .plug(&disk("vol-data"), &files(&machine.path().join("data.qcow2")))
        .unwrap();
    machine.vmm().reset().unwrap();
    until("the second reset", || machine.vmm().status().unwrap().resets == 2);
    assert!(
        !known(&machine.vmm().status().unwrap(), "vol-data")
            .unwrap()
            .leaving
    );
}

#[test]
fn a_disk_is_taken_away_from_a_guest_that_holds_on_and_its_files_are_free() {
    let machine = whole();
    machine.printed("up");
    machine
        .vmm()
        .plug(&disk("vol-data"), &two_layers(machine.path()))
        .unwrap();
    machine.vmm().unplug("vol-data", Unplug::Force).unwrap();
    goes(&machine, "vol-data");
    // Its slot is the guest's until it has let go: another disk, the same even, gets the next one.
    let refused = machine
        .vmm()
        .save(&SavedFiles::create(tempfile::tempdir().unwrap().path()).unwrap());
    assert_eq!(refusal(refused), ErrorKind::State);
    let again = files(&machine.path().join("data.qcow2"));
    assert_eq!(machine.vmm().plug(&disk("vol-data"), &again).unwrap().slot, 5);
    machine.vmm().reset().unwrap();
    until("the reset", || machine.vmm().status().unwrap().resets == 1);
    let other = machine.path().join("other.qcow2");
    create_base(&other, SIZE).unwrap();
    assert_eq!(
        machine
            .vmm()
            .plug(&disk("vol-other"), &files(&other))
            .unwrap()
            .slot,
        4
    );
}

#[test]
fn what_cannot_be_plugged_in_or_out_is_refused_and_changes_nothing() {
    let machine = whole_with(&waiting());
    machine.printed("up");
    let own = "vol-0123456789abcdef0";
    for how in [Unplug::Ask, Unplug::Force] {
        assert_eq!(
            refusal(machine.vmm().unplug(own, how)),
            ErrorKind::State,
            "it boots from it"
        );
        assert_eq!(
            refusal(machine.vmm().unplug("vol-none", how)),
            ErrorKind::NoSuchDisk
        );
    }
    let data = two_layers(machine.path());
    assert_eq!(
        refusal(machine.vmm().plug(&disk(own), &data)),
        ErrorKind::State,
        "it is there"
    );
    assert_eq!(
        refusal(machine.vmm().plug(&disk("vol-data"), &[])),
        ErrorKind::Malformed
    );
    let upside_down: Vec<OwnedFd> = files(&machine.path().join("data.qcow2"))
        .into_iter()
        .rev()
        .collect();
    assert_eq!(
        refusal(machine.vmm().plug(&disk("vol-data"), &upside_down)),
        ErrorKind::File
    );
    let no_disk = vec![OwnedFd::from(tempfile::tempfile().unwrap())];
    assert_eq!(
        refusal(machine.vmm().plug(&disk("vol-data"), &no_disk)),
        ErrorKind::File
    );
    // The machine's own, which it has locked.
    let same = files(&machine.path().join("base.qcow2"));
    assert_eq!(
        refusal(machine.vmm().plug(&disk("vol-data"), &same)),
        ErrorKind::File
    );
    for slot in [1, 3, 30, 31] {
        let disk = BlockSpec {
            slot: Some(slot),
            ..disk("vol-data")
        };
        assert_eq!(
            refusal(machine.vmm().plug(&disk, &data)),
            ErrorKind::NoSlot,
            "{slot}"
        );
    }
    assert_eq!(machine.vmm().status().unwrap().disks.len(), 1);
    machine.vmm().plug(&disk("vol-data"), &data).unwrap();
    // Every slot taken.
    for number in 5..=28 {
        let file = tempfile::tempfile_in(machine.path()).unwrap();
        file.set_len(SIZE).unwrap();
        let raw = BlockSpec {
            format: DiskFormat::Raw,
            ..disk(&format!("vol-{number}"))
        };
        assert_eq!(machine.vmm().plug(&raw, &[file.into()]).unwrap().slot, number);
    }
    let file = tempfile::tempfile_in(machine.path()).unwrap();
    file.set_len(SIZE).unwrap();
    let raw = BlockSpec {
        format: DiskFormat::Raw,
        ..disk("vol-last")
    };
    assert_eq!(
        refusal(machine.vmm().plug(&raw, &[file.into()])),
        ErrorKind::NoSlot
    );
}

#[test]
fn hazard_a_disk_that_comes_and_goes_a_thousand_times_leaves_no_descriptor_thread_or_memory() {
    let machine = whole_with(&letting_go());
    machine.printed("up");
    create_base(&machine.path().join("data.qcow2"), SIZE).unwrap();
    let (_, vmm) = machine.processes();
    let mut client = machine.vmm();
    let mut round = |how| {
        let files = files(&machine.path().join("data.qcow2"));
        client.plug(&disk("vol-data"), &files).unwrap();
        client.unplug("vol-data", how).unwrap();
        let mut looks = 0;
        while client.status().unwrap().disks.len() > 1 {
            looks += 1;
            assert!(looks < 100_000, "the disk stays");
        }
    };
    let counts = || {
        let threads = std::fs::read_dir(format!("/proc/{vmm}/task")).unwrap().count();
        (open_files(vmm).len(), threads)
    };
    // What is made once, and kept.
    (0..10).for_each(|_| round(Unplug::Ask));
    let (before, memory) = (counts(), own_memory(vmm));
    for nth in 0..ROUNDS {
        round(if nth % 4 == 3 { Unplug::Force } else { Unplug::Ask });
    }
    until("all threads have ended", || counts() == before);
    let grown = own_memory(vmm).saturating_sub(memory);
    println!("figure: {ROUNDS} disks came and went, {grown} KiB grown");
    assert!(grown < 1024, "the VMM has grown by {grown} KiB");
}

#[test]
fn a_machine_with_a_disk_that_came_is_saved_and_one_with_the_disk_in_its_slot_goes_on() {
    let machine = whole();
    machine.printed("up");
    machine
        .vmm()
        .plug(&disk("vol-data"), &two_layers(machine.path()))
        .unwrap();
    machine.vmm().unplug("vol-data", Unplug::Ask).unwrap();
    machine.vmm().pause().unwrap();
    let saved = tempfile::tempdir().unwrap();
    let saved_files = SavedFiles::create(saved.path()).unwrap();
    machine.vmm().save(&saved_files).unwrap();
    machine.vmm().kill().unwrap();
    machine.record();
    let restored = |slot| {
        let folder = tempfile::tempdir().unwrap();
        for name in ["base.qcow2", "below.qcow2", "data.qcow2"] {
            std::fs::copy(machine.path().join(name), folder.path().join(name)).unwrap();
        }
        let mut devices = kiln_vmm::spec::MachineSpec::read(&machine.path().join("spec.json"))
            .unwrap()
            .devices;
        devices.push(kiln_vmm::spec::Device::Block(BlockSpec {
            path: "data.qcow2".into(),
            slot,
            ..disk("vol-data")
        }));
        // Another network, at the place where the first one was.
        crate::network::card(folder.path());
        crate::micro::prepare(folder.path(), &waiting(), devices);
        let path = folder.path().join("spec.json");
        let mut spec = kiln_vmm::spec::MachineSpec::read(&path).unwrap();
        spec.restore = Some(kiln_vmm::saved::RestoreSpec {
            folder: saved.path().to_owned(),
            paused: false,
        });
        std::fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
        let started = kiln_vmm::client::spawn(crate::micro::kiln_vmm(), folder.path());
        (folder, started)
    };
    let (_folder, elsewhere) = restored(Some(9));
    let told = elsewhere.unwrap_err().to_string();
    assert!(
        told.contains("console, disk, ") && told.contains("console, disk in slot 9, "),
        "{told}"
    );
    let (folder, started) = restored(None);
    let again = Micro {
        folder,
        started: started.unwrap(),
    };
    // What was asked for is still asked for.
    assert!(known(&again.vmm().status().unwrap(), "vol-data").unwrap().leaving);
}

#[test]
fn hazard_a_guest_that_ejects_everything_all_the_time_keeps_what_it_was_not_asked_for() {
    let program = Program::default()
        .print("up\n")
        .write_for_ever(HOTPLUG + EJECT as u16, u32::MAX);
    let machine = whole_with(&program);
    machine.printed("up");
    let data = two_layers(machine.path());
    machine.vmm().plug(&disk("vol-data"), &data).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(machine.vmm().status().unwrap().disks.len(), 2);
    machine.vmm().unplug("vol-data", Unplug::Ask).unwrap();
    goes(&machine, "vol-data");
    assert_eq!(
        machine.vmm().status().unwrap().disks.len(),
        1,
        "what it boots from is there"
    );
}
