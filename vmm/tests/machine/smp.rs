//! More than one vCPU.

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

/// Where the other vCPUs begin (their page's number is the startup message), in real mode.
const BEGIN: u32 = 0x8000;
/// What they count themselves in.
const COUNT: u32 = 0x8100;
/// Registers of the local APIC: its switch, to whom messages go, and the message, which is sent when it is written.
const SWITCH: u32 = 0xfee0_00f0;
const TO_WHOM: u32 = 0xfee0_0310;
const MESSAGE: u32 = 0xfee0_0300;

/// Sends a vCPU a message, and gives it time to act on it.
fn send(code: Code, vcpu: u32, message: u32) -> Code {
    // mov ecx, 0x1000; dec ecx; jnz to it
    let pause = [0xb9, 0x00, 0x10, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xfc];
    code.store(TO_WHOM, vcpu << 24)
        .store(MESSAGE, message)
        .bytes(&pause)
}

#[test]
fn sixty_four_vcpus_come_up_also_after_a_reset() {
    // lock inc byte [COUNT]; hlt; jmp to it
    let others = Code::default()
        .store(BEGIN, 0x0006_fef0 | (COUNT & 0xff) << 24)
        .store(BEGIN + 4, 0xfdeb_f400 | COUNT >> 8)
        .store(COUNT, 0)
        .store(SWITCH, 0x1ff);
    // To each: begin anew; then, twice as Intel's manual has it, start there.
    let code = (1..64).fold(others, |code, vcpu| {
        let start = 0x4600 | BEGIN >> 12;
        send(send(send(code, vcpu, 0x4500), vcpu, start), vcpu, start)
    });
    // mov al, [COUNT]; cmp al, 63; jne to the mov
    let code = code
        .bytes(&[0xa0])
        .bytes(&COUNT.to_le_bytes())
        .bytes(&[0x3c, 63, 0x75, 0xf7]);
    let shape = Shape {
        cpus: 64,
        ..Shape::default()
    };
    let running = Running::start(&code.print("all are up").halt(), shape);
    running.wait_for(b"all are up");
    // Held and let go, all of them.
    running.remote.pause().unwrap();
    running.remote.resume().unwrap();
    running.remote.reset().unwrap();
    running.wait_for(b"all are upall are up");
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
