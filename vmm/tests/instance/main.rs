//! Machines in their folders, with the real program and a guest of a few instructions: how they
//! start, are asked, and end, and what surrounds them meanwhile.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report of a failure")]

mod allowed;
mod balloon;
mod console;
mod hostile;
mod hotplug;
mod micro;
mod neighbours;
mod network;
mod pvgrub;
mod raw_disk;
mod resources;
mod sandbox;
mod save;
mod sweep;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_vmm::client::{
    self, ClientError, ErrorKind, ExitReason, FileId, FreezeDisk, FreezeRequest, Quiesce, RunState,
};
use kiln_vmm::spec::Device;
use kiln_vmm::virtio::balloon::BalloonSpec;
use kiln_vmm::virtio::block::{BlockSpec, DiskFormat};
use kiln_vmm::virtio::console::{ConsoleSpec, PortRole, PortSpec};
use kiln_vmm::virtio::rng::RngSpec;
use micro::{LONG, Micro, Program, kiln_vmm, prepare, signal, until};
use rustix::process::Signal;

fn waiting() -> Program {
    Program::default().print("up\n").halt()
}

/// A disk, made in `folder`, entropy, a console with an agent's port, a network card and a balloon.
fn devices(folder: &Path) -> Vec<Device> {
    kiln_imagefmt::create_base(&folder.join("base.qcow2"), 1 << 20).unwrap();
    vec![
        Device::Block(BlockSpec {
            id: "vol-0123456789abcdef0".to_owned(),
            path: "base.qcow2".into(),
            format: DiskFormat::Qcow2,
            read_only: false,
            queues: None,
            serial: None,
            slot: None,
        }),
        Device::Rng(RngSpec::default()),
        Device::Console(ConsoleSpec {
            ports: vec![
                PortSpec {
                    name: None,
                    role: PortRole::Console,
                },
                PortSpec {
                    name: Some("org.kiln.agent.0".to_owned()),
                    role: PortRole::Agent,
                },
            ],
        }),
        Device::Net(network::card(folder)),
        Device::Balloon(BalloonSpec::default()),
    ]
}

/// Puts `bytes` at the beginning of a disk.
fn write_first_bytes(disk: &Path, bytes: &[u8]) {
    let chain = kiln_imagefmt::Chain::open_path(disk, kiln_imagefmt::Access::ReadWrite).unwrap();
    kiln_imagefmt::write_all_at(&chain, 0, bytes).unwrap();
}

fn whole() -> Micro {
    whole_with(&waiting())
}

fn whole_with(program: &Program) -> Micro {
    let folder = tempfile::tempdir().unwrap();
    let devices = devices(folder.path());
    Micro::start_in(folder, program, devices)
}

#[test]
fn a_machine_runs_in_the_background_and_answers() {
    let machine = whole();
    assert_eq!(machine.started.boot.cmdline, "micro");
    machine.printed("up");
    let status = machine.vmm().status().unwrap();
    assert_eq!(
        (status.state, status.resets, status.agent),
        (RunState::Running, 0, false)
    );
    let base = File::open(machine.path().join("base.qcow2")).unwrap();
    assert_eq!(status.disks[0].top, Some(FileId::of(&base).unwrap()));
    machine.vmm().pause().unwrap();
    assert_eq!(machine.vmm().status().unwrap().state, RunState::Paused);
    machine.vmm().resume().unwrap();
    machine.vmm().kill().unwrap();
    assert_eq!(machine.record().reason, ExitReason::Killed);
}

#[test]
fn a_guest_that_powers_off_ends_its_machine() {
    let machine = whole_with(&Program::default().print("bye\n").power_off());
    let record = machine.record();
    assert_eq!((record.reason, record.resets), (ExitReason::Shutdown, 0));
    assert!(machine.console().contains("bye"));
}

#[test]
fn messages_that_cannot_be_written_end_no_guest() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = folder.path().join("kernel");
    let program = Program::default().print("bye\n").power_off();
    std::fs::write(&kernel, program.elf()).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let by_hand = |kernel: &Path| {
        Command::new(kiln_vmm())
            .arg("--kernel")
            .arg(kernel)
            .args(["--memory", "32M", "--verbose", "--count-exits"])
            .stdin(Stdio::null())
            .stderr(full.try_clone().unwrap())
            .output()
            .unwrap()
    };
    let ended = by_hand(&kernel);
    assert_eq!((ended.status.code(), &*ended.stdout), (Some(0), &b"bye\n"[..]));
    assert_eq!(by_hand(&folder.path().join("nothing")).status.code(), Some(1));
}

#[test]
fn a_guest_is_reset_inside_the_sandbox_and_the_record_counts() {
    let folder = tempfile::tempdir().unwrap();
    let devices = devices(folder.path());
    let program = Program::default().print("again\n").wait(3).reset();
    let machine = Micro::start_in(folder, &program, devices);
    until("three resets", || machine.console().matches("again").count() > 3);
    assert!(machine.vmm().status().unwrap().resets >= 3);
    let (_, vmm) = machine.processes();
    signal(vmm, Signal::KILL);
    let record = machine.record();
    assert_eq!(record.reason, ExitReason::Killed);
    assert!(record.resets >= 3, "{record:?}");
}

#[test]
fn hazard_links_in_a_prepared_folder_stop_the_start_and_the_canary_is_untouched() {
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("canary");
    for name in [
        "console.log",
        "console.log.1",
        "vmm.log",
        "lock",
        "base.qcow2",
        "spec.json",
    ] {
        std::fs::write(&canary, "alive").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let devices = devices(folder.path());
        prepare(folder.path(), &waiting(), devices);
        if name == "base.qcow2" || name == "spec.json" {
            // A real disk or spec, but somewhere else.
            std::fs::rename(folder.path().join(name), &canary).unwrap();
        }
        let before = std::fs::read(&canary).unwrap();
        let _ = std::fs::remove_file(folder.path().join(name));
        std::os::unix::fs::symlink(&canary, folder.path().join(name)).unwrap();
        let error = client::spawn(kiln_vmm(), folder.path()).unwrap_err();
        assert!(error.to_string().contains(name), "{name}: {error}");
        assert_eq!(std::fs::read(&canary).unwrap(), before, "{name}");
    }
    // Sockets and the record take the place of what is there.
    for name in ["control.sock", "agent.sock", "exit.json", "exit.json.new"] {
        std::fs::write(&canary, "alive").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let devices = devices(folder.path());
        std::os::unix::fs::symlink(&canary, folder.path().join(name)).unwrap();
        let machine = Micro::start_in(folder, &waiting(), devices);
        machine.vmm().kill().unwrap();
        assert_eq!(machine.record().reason, ExitReason::Killed);
        assert_eq!(std::fs::read(&canary).unwrap(), b"alive", "{name}");
    }
}

#[test]
fn hazard_each_process_can_be_killed_and_the_reason_is_known() {
    let machine = whole();
    let (_, vmm) = machine.processes();
    signal(vmm, Signal::KILL);
    let record = machine.record();
    assert_eq!(record.reason, ExitReason::Killed);
    assert!(record.detail.contains("SIGKILL"), "{}", record.detail);

    for (fault, name) in [(Signal::SEGV, "SIGSEGV"), (Signal::BUS, "SIGBUS")] {
        let machine = whole();
        let (_, vmm) = machine.processes();
        signal(vmm, fault);
        let record = machine.record();
        assert_eq!(record.reason, ExitReason::VmmError);
        assert!(record.detail.contains(name), "{}", record.detail);
    }

    let machine = whole();
    let (parent, vmm) = machine.processes();
    signal(parent, Signal::KILL);
    assert_eq!(machine.record().reason, ExitReason::Killed);
    until("the VMM's end", || {
        !Path::new(&format!("/proc/{vmm}/exe")).exists()
    });
}

#[test]
fn sigterm_is_the_power_button_and_a_machine_that_ignores_it_runs_on() {
    let machine = whole();
    machine.printed("up");
    let (parent, _) = machine.processes();
    signal(parent, Signal::TERM);
    machine.vmm().status().unwrap();
    assert!(client::is_running(machine.path()).unwrap());
}

fn freeze(machine: &Micro, name: &str, quiesce: Quiesce) -> Result<client::FreezeReply, ClientError> {
    let path = machine.path().join(name);
    let overlay = File::options().read(true).write(true).open(path).unwrap();
    let disks = vec![FreezeDisk {
        id: "vol-0123456789abcdef0".to_owned(),
    }];
    machine
        .vmm()
        .freeze(&FreezeRequest { disks, quiesce }, &[OwnedFd::from(overlay)])
}

#[test]
fn a_disk_of_a_running_machine_is_frozen_again_and_again() {
    let machine = whole();
    let mut below = "base.qcow2".to_owned();
    for turn in 0..5 {
        let name = format!("overlay-{turn}.qcow2");
        kiln_imagefmt::create_overlay(&machine.path().join(&name), &below, 1 << 20).unwrap();
        let quiesce = if turn % 2 == 0 {
            Quiesce::None
        } else {
            Quiesce::Agent { deadline_ms: 1000 }
        };
        let reply = freeze(&machine, &name, quiesce)
            .unwrap_or_else(|error| panic!("{error}: {:?}", machine.record()));
        assert_eq!(
            reply.warning.is_some(),
            turn % 2 == 1,
            "no agent is in this guest: {reply:?}"
        );
        let top = File::open(machine.path().join(&name)).unwrap();
        let status = machine.vmm().status().unwrap();
        assert_eq!(status.disks[0].top, Some(FileId::of(&top).unwrap()));
        below = name;
    }
    // Another one's size is refused, and the machine goes on.
    kiln_imagefmt::create_overlay(&machine.path().join("other"), &below, 2 << 20).unwrap();
    match freeze(&machine, "other", Quiesce::None).unwrap_err() {
        ClientError::Refused {
            kind: ErrorKind::Overlay,
            ..
        } => {}
        other => panic!("{other}"),
    }
    // So is an overlay of a layer that is not the top any more.
    kiln_imagefmt::create_overlay(&machine.path().join("late"), "base.qcow2", 1 << 20).unwrap();
    match freeze(&machine, "late", Quiesce::None).unwrap_err() {
        ClientError::Refused {
            kind: ErrorKind::Overlay,
            message,
            ..
        } => {
            assert!(message.contains("base.qcow2"), "{message}");
        }
        other => panic!("{other}"),
    }
    machine.vmm().status().unwrap();
}

#[test]
fn a_folder_takes_one_machine_and_what_cannot_start_says_why() {
    let machine = whole();
    match client::spawn(kiln_vmm(), machine.path()).unwrap_err() {
        ClientError::Start { kind, .. } => assert_eq!(kind, "locked"),
        other => panic!("{other}"),
    }
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &waiting(), Vec::new());
    std::fs::write(folder.path().join("kernel"), "no kernel").unwrap();
    let error = client::spawn(kiln_vmm(), folder.path()).unwrap_err();
    assert!(matches!(error, ClientError::Start { .. }), "{error}");
    let record = client::wait_exit(folder.path(), LONG).unwrap().unwrap();
    assert_eq!(record.reason, ExitReason::VmmError);
    assert!(record.detail.contains("did not start"), "{}", record.detail);
}

#[test]
fn a_machine_outlives_the_command_that_started_it_and_its_terminal() {
    let machine = whole();
    let (parent, vmm) = machine.processes();
    // From /proc: the session of a test in a container may be led from outside of it, which getsid does not take.
    let session = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(3).unwrap().to_owned()
    };
    let own = session(i32::try_from(std::process::id()).unwrap());
    for pid in [parent, vmm] {
        assert_ne!(session(pid), own);
        signal(pid, Signal::HUP);
    }
    machine.vmm().status().unwrap();
}
