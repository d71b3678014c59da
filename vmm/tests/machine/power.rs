//! How guests end, begin again, are held and go on.

use std::time::Duration;

use kiln_vmm::control::{MachineControl, RunState};
use kiln_vmm::exit_record::ExitReason;
use kiln_vmm::spec::OnReset;

use crate::guest::{By, Code, Running, Shape, run};

/// Counts in a byte of CMOS, which a reset leaves alone: prints, and resets by `reset` until it has done
/// so twice.
fn reset_twice(reset: Code) -> Code {
    let off = Code::default().print(".").power_off().into_bytes();
    let skip = u8::try_from(off.len()).expect("it is short");
    Code::default()
        .print("r")
        // out 0x70, 0x7f; in al, 0x71; cmp al, 2; jb over powering off
        .bytes(&[0xb0, 0x7f, 0xe6, 0x70, 0xe4, 0x71, 0x3c, 0x02, 0x72, skip])
        .bytes(&off)
        // inc al; out 0x71, al
        .bytes(&[0xfe, 0xc0, 0xe6, 0x71])
        .bytes(&reset.into_bytes())
        .halt()
}

fn check_resets(reset: Code) {
    for by in [By::Pvh, By::Linux32, By::Linux64] {
        let (printed, record) = run(
            &reset_twice(reset.clone()),
            Shape {
                by,
                ..Shape::default()
            },
        );
        assert_eq!(
            (printed.as_slice(), record.resets),
            (&b"rrr."[..], 2),
            "{by:?}: {record:?}"
        );
        assert_eq!(record.reason, ExitReason::Shutdown);
    }
}

#[test]
fn the_reset_control_register_starts_the_machine_again() {
    check_resets(Code::default().out(0xcf9, 0x06));
}

#[test]
fn the_keyboard_controller_starts_the_machine_again() {
    check_resets(Code::default().out(0x64, 0xfe));
}

#[test]
fn a_triple_fault_starts_the_machine_again() {
    // mov ax, 0xfff8; mov ds, ax: a selector beyond the table, without an interrupt descriptor table.
    check_resets(Code::default().bytes(&[0x66, 0xb8, 0xf8, 0xff, 0x8e, 0xd8]));
}

#[test]
fn nothing_runs_after_the_access_that_resets() {
    let code = Code::default().out(0xcf9, 0x06).print("too late").halt();
    let (printed, record) = run(
        &code,
        Shape {
            on_reset: OnReset::Exit,
            ..Shape::default()
        },
    );
    assert_eq!(String::from_utf8_lossy(&printed), "");
    assert_eq!((record.reason, record.resets), (ExitReason::Shutdown, 0));
}

#[test]
fn memory_and_devices_are_as_at_power_on_after_a_reset() {
    // Prints a word of memory and the serial port's scratch register, changes both, resets.
    let code = reset_twice(
        Code::default()
            .load(0x20_0000)
            .print_eax()
            .input(0x3ff, 1)
            .print_eax()
            .store(0x20_0000, 0x0101_0101)
            .out(0x3ff, 0x5a)
            .out(0xcf9, 0x06),
    );
    let (printed, _) = run(&code, Shape::default());
    assert_eq!(printed, b"r\0\0\0\0\0\0\0\0r\0\0\0\0\0\0\0\0r.");
}

#[test]
fn memory_types_are_as_at_power_on_after_a_reset() {
    // Prints the mask of the first range, sets it, resets.
    let code = reset_twice(
        Code::default()
            // mov ecx, 0x201; rdmsr
            .bytes(&[0xb9, 0x01, 0x02, 0x00, 0x00, 0x0f, 0x32])
            .print_eax()
            // mov ecx, 0x201; mov eax, 0x800; xor edx, edx; wrmsr
            .bytes(&[0xb9, 0x01, 0x02, 0x00, 0x00, 0xb8, 0x00, 0x08, 0x00, 0x00])
            .bytes(&[0x31, 0xd2, 0x0f, 0x30])
            .out(0xcf9, 0x06),
    );
    let (printed, _) = run(&code, Shape::default());
    assert_eq!(printed, b"r\0\0\0\0r\0\0\0\0r.");
}

#[test]
fn a_panic_ends_the_machine_as_a_crash() {
    let code = Code::default().out(0x505, 1).print("too late").halt();
    let (printed, record) = run(&code, Shape::default());
    assert_eq!(
        (record.reason, printed.len()),
        (ExitReason::GuestCrash, 0),
        "{record:?}"
    );
}

#[test]
fn the_power_button_reaches_the_guest() {
    // Waits for bit 8 of the status: in ax, dx; test ah, 1; jz back
    let code = Code::default()
        .print("up")
        .bytes(&[0x66, 0xba, 0x00, 0x06, 0x66, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf9])
        .print("off")
        .power_off();
    let mut running = Running::start(&code, Shape::default());
    running.wait_for(b"up");
    running.remote.powerdown().unwrap();
    assert_eq!(running.end().reason, ExitReason::Shutdown);
    assert_eq!(running.printed(), b"upoff");
}

#[test]
fn a_held_guest_does_nothing_until_it_goes_on() {
    let running = Running::start(
        &Code::default().forever(Code::default().print(".")),
        Shape::default(),
    );
    running.wait_for(b"...");
    running.remote.pause().unwrap();
    running.remote.pause().unwrap();
    let (before, status) = (running.printed().len(), running.remote.status());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(
        (running.printed().len(), status.state),
        (before, RunState::Paused)
    );
    running.remote.resume().unwrap();
    while running.printed().len() == before {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(running.remote.status().state, RunState::Running);
}

#[test]
fn a_spinning_guest_can_be_held_reset_and_ended() {
    // jmp to itself: no exit at all.
    let code = Code::default().print("up").bytes(&[0xeb, 0xfe]);
    let mut running = Running::start(&code, Shape::default());
    running.wait_for(b"up");
    running.remote.pause().unwrap();
    running.remote.resume().unwrap();
    running.remote.reset().unwrap();
    running.wait_for(b"upup");
    assert_eq!(running.remote.status().resets, 1);
    running.remote.kill("enough");
    let record = running.end();
    assert_eq!(
        (record.reason, record.detail.as_str()),
        (ExitReason::Killed, "enough")
    );
}

#[test]
fn a_reset_of_a_held_machine_leaves_it_held() {
    let running = Running::start(&Code::default().print("up").halt(), Shape::default());
    running.wait_for(b"up");
    running.remote.pause().unwrap();
    running.remote.reset().unwrap();
    while running.remote.status().resets == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(running.printed(), b"up");
    running.remote.resume().unwrap();
    running.wait_for(b"upup");
}

#[test]
fn what_is_typed_reaches_the_guest() {
    // Waits for a byte (bit 0 of the line status), prints it: in al, dx; test al, 1; jz back
    let echo = Code::default()
        .bytes(&[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb])
        .bytes(&[0x66, 0xba, 0xf8, 0x03, 0xec, 0xee]);
    let running = Running::start(&Code::default().print(">").forever(echo), Shape::default());
    running.wait_for(b">");
    assert_eq!(running.board.serial.receive(b"hello"), 5);
    running.wait_for(b">hello");
}
