//! A guest that means harm: its instructions write edge values wherever the layout tables say that something
//! is, in the states of each device, inside the sandbox. The machine lives, answers, and serves a driver that
//! means well.

use kiln_vmm::client::RunState;
use kiln_vmm::vmm_log::MAX_LENGTH;

use crate::micro::{Micro, Program};
use crate::resources::{busy_threads, own_memory};
use crate::sweep::{MARK, Sweep, bar};

#[test]
fn hazard_instructions_that_write_edge_values_everywhere_leave_a_machine_that_serves() {
    let folder = tempfile::tempdir().unwrap();
    let devices = crate::devices(folder.path());
    crate::write_first_bytes(&folder.path().join("base.qcow2"), &MARK);
    let mut sweep = Sweep::default();
    sweep.registers();
    sweep.say("registers");
    sweep.rings();
    sweep.say("rings");
    sweep.is_whole();
    sweep.parts();
    sweep.say("parts");
    sweep.configuration();
    sweep.say("configuration");
    sweep.ports();
    sweep.say("ports");
    sweep.descriptors();
    sweep.say("descriptors");
    sweep.read_the_disk();
    let program = Program::default()
        .print("up\n")
        .accesses(&sweep.accesses)
        .print("\nserved\n");
    let machine = Micro::start_in(folder, &program.halt(), devices);
    machine.printed("up");
    let (_, vmm) = machine.processes();
    let before = own_memory(vmm);
    for part in [
        "registers",
        "rings",
        "parts",
        "configuration",
        "ports",
        "descriptors",
        "served",
    ] {
        machine.printed(part);
    }
    let status = machine.vmm().status().unwrap();
    assert_eq!((status.state, status.resets), (RunState::Running, 0));
    let grown = own_memory(vmm).saturating_sub(before);
    println!("figure: {} accesses of a guest", sweep.accesses.len());
    println!("figure: {grown} KiB grown");
    assert!(grown < 2048, "the VMM has grown by {grown} KiB");
    assert_eq!(busy_threads(vmm), Vec::<String>::new(), "the guest is halted");
    machine.vmm().kill().unwrap();
}

#[test]
fn hazard_a_guest_that_makes_its_vmm_warn_without_end_fills_a_bounded_log() {
    let folder = tempfile::tempdir().unwrap();
    let devices = crate::devices(folder.path());
    let mut sweep = Sweep::default();
    // A driver that goes on without a queue, again and again: a line each time.
    for _ in 0..4000 {
        for (register, size, value) in [
            (20, 1, 0),
            (20, 1, 1),
            (20, 1, 3),
            (8, 4, 1),
            (12, 4, 1),
            (20, 1, 11),
            (20, 1, 15),
        ] {
            sweep.write(bar(0) + register, size, value);
        }
    }
    let program = Program::default()
        .accesses(&sweep.accesses)
        .print("warned\n")
        .reset();
    let machine = Micro::start_in(folder, &program, devices);
    machine.printed("warned");
    machine.vmm().kill().unwrap();
    machine.record();
    let log = std::fs::read_to_string(machine.path().join("vmm.log")).unwrap();
    assert!(log.contains("device not started"), "{log}");
    assert!(log.contains("the log is full"), "{} bytes", log.len());
    assert!(log.len() as u64 <= MAX_LENGTH + 4096, "{} bytes", log.len());
}
