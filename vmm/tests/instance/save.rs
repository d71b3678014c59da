//! Machines that are saved over their socket, and others that go on from there in their own folders.

use std::path::Path;

use kiln_vmm::client::{self, ClientError, ExitReason, RunState, SavedFiles};
use kiln_vmm::saved::{RestoreSpec, STATE};
use kiln_vmm::spec::{Boot, MachineSpec};

use crate::devices;
use crate::micro::{LONG, Micro, Program, kiln_vmm, prepare};

/// Prints, waits for the power button, and prints again.
fn working() -> Program {
    Program::default()
        .print("before\n")
        .wait_for_the_button()
        .print("after\n")
        .halt()
}

/// A machine in a new folder, whose spec is as `change` leaves it.
fn changed(change: impl FnOnce(&mut MachineSpec)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let devices = devices(folder.path());
    prepare(folder.path(), &working(), devices);
    let spec = folder.path().join("spec.json");
    let mut machine = MachineSpec::read(&spec).unwrap();
    change(&mut machine);
    std::fs::write(&spec, serde_json::to_vec(&machine).unwrap()).unwrap();
    folder
}

/// A machine in a new folder, with a copy of `from`'s disk, that is to go on from `restore`.
fn prepared(from: &Path, restore: RestoreSpec) -> tempfile::TempDir {
    let folder = changed(|machine| machine.restore = Some(restore));
    std::fs::copy(from.join("base.qcow2"), folder.path().join("base.qcow2")).unwrap();
    folder
}

fn started(folder: tempfile::TempDir) -> Micro {
    let started = client::spawn(kiln_vmm(), folder.path()).unwrap();
    Micro { folder, started }
}

fn saved(machine: &Micro) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = SavedFiles::create(folder.path()).unwrap();
    let report = machine.vmm().save(&files).unwrap();
    let length = |file: &std::fs::File| file.metadata().unwrap().len();
    assert_eq!(
        (length(&files.state), length(&files.memory)),
        (report.state_bytes, 32 << 20)
    );
    folder
}

fn working_machine() -> Micro {
    let folder = tempfile::tempdir().unwrap();
    let devices = devices(folder.path());
    let machine = Micro::start_in(folder, &working(), devices);
    machine.printed("before");
    machine
}

#[test]
fn a_machine_that_was_saved_goes_on_in_another_folder_within_the_sandbox() {
    let machine = working_machine();
    machine.vmm().pause().unwrap();
    let saved = saved(&machine);
    assert_eq!(machine.vmm().status().unwrap().state, RunState::Paused);
    machine.vmm().kill().unwrap();
    machine.record();
    assert!(!machine.console().contains("after"));

    let restore = RestoreSpec {
        folder: saved.path().to_owned(),
        paused: true,
    };
    let restored = started(prepared(machine.path(), restore));
    assert_eq!(restored.vmm().status().unwrap().state, RunState::Paused);
    restored.vmm().resume().unwrap();
    restored.vmm().powerdown().unwrap();
    restored.printed("after\n");
    assert_eq!(restored.console(), "after\n", "it began where it was saved");
    // The files are needed no more, and a reset boots.
    drop(saved);
    restored.vmm().reset().unwrap();
    restored.printed("before");
}

#[test]
fn who_attaches_to_a_restored_guest_is_where_its_login_waits() {
    let cmdline = "console=ttyS0 console=hvc0";
    let machine = started(changed(|machine| {
        machine.boot = Boot::Kernel {
            kernel: "kernel".into(),
            initrd: None,
            cmdline: cmdline.to_owned(),
        };
    }));
    machine.printed("before");
    let saved = saved(&machine);
    machine.vmm().kill().unwrap();
    machine.record();
    let restore = RestoreSpec {
        folder: saved.path().to_owned(),
        paused: false,
    };
    // What the fresh machine would boot has another command line.
    let restored = started(prepared(machine.path(), restore));
    assert_eq!(restored.started.boot.cmdline, cmdline);
    assert_eq!(restored.vmm().attach_console(None).unwrap().console, "hvc0");
}

#[test]
fn a_running_machine_is_saved_and_goes_on() {
    let machine = working_machine();
    let _saved = saved(&machine);
    assert_eq!(machine.vmm().status().unwrap().state, RunState::Running);
    machine.vmm().powerdown().unwrap();
    machine.printed("after");
}

#[test]
fn a_machine_whose_saved_state_is_garbage_does_not_start_and_says_why() {
    let machine = working_machine();
    let saved = saved(&machine);
    machine.vmm().kill().unwrap();
    machine.record();
    let start = |restore| {
        let folder = prepared(machine.path(), restore);
        let message = match client::spawn(kiln_vmm(), folder.path()).unwrap_err() {
            ClientError::Start { message, .. } => message,
            other => panic!("{other}"),
        };
        let record = client::wait_exit(folder.path(), LONG).unwrap().unwrap();
        assert_eq!(record.reason, ExitReason::VmmError);
        assert!(record.detail.contains(&message), "{}", record.detail);
        message
    };
    let restore = RestoreSpec {
        folder: saved.path().to_owned(),
        paused: false,
    };
    std::fs::write(saved.path().join(STATE), vec![7; 100_000]).unwrap();
    assert!(start(restore.clone()).contains("no saved state"));
    std::fs::remove_file(saved.path().join(STATE)).unwrap();
    let missing = start(restore);
    assert!(
        missing.contains(STATE) && missing.contains("No such file"),
        "{missing}"
    );
}
