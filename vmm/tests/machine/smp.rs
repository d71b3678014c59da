//! More than one vCPU. That the others start, and start again after a reset, is for guests with a real
//! kernel to show: not every KVM can emulate their first steps.

use kiln_vmm::control::MachineControl;

use crate::guest::{Code, Running, Shape};

#[test]
fn every_vcpu_can_be_held_while_others_wait_to_be_started() {
    let code = Code::default().print("B").forever(Code::default().out(0x80, 0));
    let running = Running::start(
        &code,
        Shape {
            cpus: 8,
            ..Shape::default()
        },
    );
    running.wait_for(b"B");
    for _ in 0..20 {
        running.remote.pause().unwrap();
        running.remote.resume().unwrap();
    }
}

#[test]
fn a_machine_of_many_vcpus_is_reset_as_a_whole() {
    let running = Running::start(
        &Code::default().print("B").halt(),
        Shape {
            cpus: 8,
            ..Shape::default()
        },
    );
    running.wait_for(b"B");
    running.remote.reset().unwrap();
    running.wait_for(b"BB");
    assert_eq!(running.remote.status().resets, 1);
}
