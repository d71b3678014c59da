//! More than one vCPU.

use crate::guest::{Code, Running, Shape};

/// Puts a program of real mode at 0x8000 that prints "A" and halts, and starts the vCPU with APIC id
/// `id` there: INIT, then start-up with vector 8.
fn start_other(id: u32) -> Code {
    Code::default()
        // mov al, 'A'; mov dx, 0x3f8; out dx, al; hlt; jmp back
        .store(0x8000, u32::from_le_bytes([0xb0, b'A', 0xba, 0xf8]))
        .store(0x8004, u32::from_le_bytes([0x03, 0xee, 0xf4, 0xeb]))
        .store(0x8008, 0xfd)
        .store(0xfee0_0310, id << 24)
        .store(0xfee0_0300, 0x4500)
        .store(0xfee0_0310, id << 24)
        .store(0xfee0_0300, 0x4608)
}

#[test]
fn the_first_vcpu_starts_the_others() {
    for (cpus, id) in [(2, 1), (8, 7)] {
        let code = Code::default().print("B").bytes(&start_other(id).into_bytes()).halt();
        let running = Running::start(&code, Shape { cpus, ..Shape::default() });
        running.wait_for(b"BA");
    }
}

#[test]
fn after_a_reset_the_others_wait_to_be_started_again() {
    use kiln_vmm::control::MachineControl;
    let code = Code::default().print("B").bytes(&start_other(1).into_bytes()).halt();
    let running = Running::start(&code, Shape { cpus: 2, ..Shape::default() });
    running.wait_for(b"BA");
    running.remote.reset().unwrap();
    running.wait_for(b"BABA");
}

#[test]
fn every_vcpu_can_be_held_while_others_wait_to_be_started() {
    use kiln_vmm::control::MachineControl;
    let code = Code::default().print("B").forever(Code::default().out(0x80, 0));
    let running = Running::start(&code, Shape { cpus: 8, ..Shape::default() });
    running.wait_for(b"B");
    for _ in 0..20 {
        running.remote.pause().unwrap();
        running.remote.resume().unwrap();
    }
}
