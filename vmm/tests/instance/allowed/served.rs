//! Machines whose guests have everything done for them that a machine does: within the filters, or it ends.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_agent::frame::{Kind, encode};
use kiln_vmm::client::{self, ExitReason, FreezeDisk, FreezeRequest, Quiesce, SavedFiles};
use kiln_vmm::console_log::MAX_LENGTH;
use kiln_vmm::saved::RestoreSpec;
use kiln_vmm::spec::MachineSpec;
use rustix::process::Signal;
use rustix::pty::OpenptFlags;

use super::driver::Driver;
use crate::micro::{LONG, Micro, Program, kiln_vmm, prepare, signal, until};

/// A machine's folder: two vCPUs, all devices, and logs that are full.
fn folder(program: &Program, restore: Option<RestoreSpec>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let devices = crate::devices(folder.path());
    prepare(folder.path(), program, devices);
    let spec = folder.path().join("spec.json");
    let mut machine = MachineSpec::read(&spec).unwrap();
    (machine.cpus, machine.restore) = (2, restore);
    fs::write(&spec, serde_json::to_vec(&machine).unwrap()).unwrap();
    let log = File::create(folder.path().join("console.log")).unwrap();
    log.set_len(MAX_LENGTH).unwrap();
    folder
}

fn start(folder: tempfile::TempDir) -> Micro {
    let started = client::spawn(kiln_vmm(), folder.path()).unwrap();
    Micro { folder, started }
}

/// What a client of the agent's socket gets for a request that the guest does not understand.
fn refusal(folder: &Path) -> Vec<u8> {
    let mut stream = UnixStream::connect(folder.join("agent.sock")).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut request = Vec::new();
    encode(&mut request, 0, Kind::Request, b"{}");
    stream.write_all(&request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// The disk turned to a new overlay.
fn freeze(machine: &Micro, quiesce: Quiesce) -> client::FreezeReply {
    let path = machine.path().join("overlay.qcow2");
    kiln_imagefmt::create_overlay(&path, "base.qcow2", 1 << 20).unwrap();
    let overlay = File::options().read(true).write(true).open(path).unwrap();
    let request = FreezeRequest {
        disks: vec![FreezeDisk {
            id: "vol-0123456789abcdef0".to_owned(),
        }],
        quiesce,
    };
    machine.vmm().freeze(&request, &[OwnedFd::from(overlay)]).unwrap()
}

#[test]
fn every_device_serves_a_guest_within_its_filter() {
    let mut driver = Driver::default();
    driver.use_the_consoles();
    driver.use_the_disk();
    driver.use_the_entropy();
    driver.use_the_network();
    driver.use_the_balloon();
    driver.use_the_clock();
    driver.stop_all();
    let program = Program::default()
        .accesses(&driver.sweep.accesses)
        .print("served\n")
        .halt();
    let machine = start(folder(&program, None));
    machine.printed("served");
    let console = machine.console();
    assert!(
        console.starts_with("on hvc0\nserved"),
        "the log began anew: {console}"
    );
    // The guest gave back a part of its disk last, and did not flush.
    freeze(&machine, Quiesce::None);
    machine.vmm().kill().unwrap();
    assert_eq!(machine.record().reason, ExitReason::Killed);
}

#[test]
fn a_guest_with_an_agent_is_saved_frozen_and_restored_within_the_filters() {
    let mut driver = Driver::default();
    driver.use_the_disk();
    driver.use_the_consoles();
    driver.echo(1);
    driver.sweep.say("heard\n");
    driver.echo(400);
    let program = Program::default()
        .print("up\n")
        .accesses(&driver.sweep.accesses)
        .halt();
    let machine = start(folder(&program, None));
    machine.printed("heard");
    assert!(!refusal(machine.path()).is_empty(), "the channel is closed");
    machine.vmm().pause().unwrap();
    let saved = tempfile::tempdir().unwrap();
    let files = SavedFiles::create(saved.path()).unwrap();
    machine.vmm().save(&files).unwrap();
    machine.vmm().resume().unwrap();
    let reply = freeze(&machine, Quiesce::Agent { deadline_ms: 30_000 });
    assert!(!reply.quiesced && reply.warning.is_some(), "{reply:?}");
    machine.vmm().kill().unwrap();
    assert_eq!(machine.record().reason, ExitReason::Killed);

    let restore = RestoreSpec {
        folder: saved.path().to_owned(),
        paused: false,
    };
    let restored = start(folder(&program, Some(restore)));
    // Its agent is told of the new time, and does not understand.
    until("word of the clock", || {
        let log = fs::read_to_string(restored.path().join("vmm.log")).unwrap();
        log.contains("the guest's clock: not set")
    });
    assert!(restored.vmm().status().unwrap().agent);
    restored.vmm().kill().unwrap();
    assert_eq!(restored.record().reason, ExitReason::Killed);
}

/// A new terminal's two ends.
fn terminal() -> (File, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let own = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&own).unwrap();
    let other = rustix::pty::ioctl_tiocgptpeer(&own, flags).unwrap();
    (own.into(), other.into())
}

#[test]
fn a_machine_by_hand_has_a_terminal_within_the_filter_and_gives_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::default()
        .print("up\n")
        .wait_for_the_button()
        .print("pressed\n")
        .echo();
    fs::write(folder.path().join("kernel"), program.elf()).unwrap();
    let (mut keys, end) = terminal();
    let before = rustix::termios::tcgetattr(&end).unwrap();
    let mut machine = Command::new(kiln_vmm())
        .arg("--kernel")
        .arg(folder.path().join("kernel"))
        .args(["--memory", "32M"])
        .stdin(end.try_clone().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let id = machine.id();
    let mut prints = |text: &str| {
        let mut printed = vec![0; text.len()];
        machine.stdout.as_mut().unwrap().read_exact(&mut printed).unwrap();
        assert_eq!(printed, text.as_bytes());
    };
    prints("up\n");
    signal(i32::try_from(id).unwrap(), Signal::TERM);
    prints("pressed\n");
    keys.write_all(b"typed\x01x").unwrap();
    assert_eq!(machine.wait().unwrap().code(), Some(1), "ended from the terminal");
    let after = rustix::termios::tcgetattr(&end).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
}
