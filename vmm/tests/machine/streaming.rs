//! The serial port in the middle of a stream when its machine is saved: no byte is lost, none comes twice, it goes on.

use kiln_vmm::control::MachineControl;

use crate::guest::{Code, Running, Shape, until};
use crate::save::Disk;

/// How often the machine is saved and another goes on.
const ROUNDS: usize = 12;

/// Counts on the serial port, a byte at a time.
fn counts() -> Code {
    // mov dx, 0x3f8; xor eax, eax; out dx, al; inc eax; jmp to the out
    Code::default()
        .bytes(&[0x66, 0xba, 0xf8, 0x03, 0x31, 0xc0])
        .bytes(&[0xee, 0xff, 0xc0, 0xeb, 0xfb])
}

/// The same, 256 bytes with one instruction.
fn counts_in_strings() -> Code {
    // cld; mov edi, 0x200000; xor eax, eax; stosb; inc al; jnz to the stosb
    let code = Code::default().bytes(&[
        0xfc, 0xbf, 0x00, 0x00, 0x20, 0x00, 0x31, 0xc0, 0xaa, 0xfe, 0xc0, 0x75, 0xfb,
    ]);
    // mov dx, 0x3f8; mov esi, 0x200000; mov ecx, 256; rep outsb; jmp to the second
    code.bytes(&[0x66, 0xba, 0xf8, 0x03, 0xbe, 0x00, 0x00, 0x20, 0x00])
        .bytes(&[0xb9, 0x00, 0x01, 0x00, 0x00, 0xf3, 0x6e, 0xeb, 0xf2])
}

/// The same as a driver does it: the next byte whenever the port interrupts because it has room.
fn counts_by_interrupt() -> Code {
    // The first PIC, its lines from vector 0x20 on, all but the port's masked; the port interrupts when it has room.
    let code = [
        (0x20, 0x11),
        (0x21, 0x20),
        (0x21, 0x04),
        (0x21, 0x01),
        (0x21, 0xef),
        (0x3f9, 2),
    ]
    .into_iter()
    .fold(Code::default(), |code, (port, byte)| code.out(port, byte));
    // xor ebx, ebx; inc ebx; the first byte
    let code = code.bytes(&[0x31, 0xdb, 0x43]).out(0x3f8, 0);
    // The PIC is asked for an interrupt, which so is taken: mov al, 12; out 0x20, al; in al, 0x20; and al, 7; cmp al, 4; jne
    // back. (That there is one says bit 7, too, but not in older kernels; with none, all three bits are set.)
    let body = Code::default()
        .bytes(&[
            0xb0, 0x0c, 0xe6, 0x20, 0xe4, 0x20, 0x24, 0x07, 0x3c, 0x04, 0x75, 0xf4,
        ])
        // Its end: mov al, 0x20; out 0x20, al
        .bytes(&[0xb0, 0x20, 0xe6, 0x20])
        // Why: mov dx, 0x3fa; in al, dx; and al, 15; cmp al, 2; jne to the first
        .bytes(&[0x66, 0xba, 0xfa, 0x03, 0xec, 0x24, 0x0f, 0x3c, 0x02, 0x75, 0xe5])
        // mov dx, 0x3f8; mov al, bl; out dx, al; inc ebx
        .bytes(&[0x66, 0xba, 0xf8, 0x03, 0x88, 0xd8, 0xee, 0x43]);
    code.forever(body)
}

/// Saves the machine in the middle of its stream, again and again, and looks at all that was printed.
fn keeps_counting(code: &Code) {
    let mut running = Running::start(code, Shape::default());
    let mut stream = Vec::new();
    for round in 0..ROUNDS {
        let enough = 200 + round * 77;
        until(&format!("it prints on in round {round}"), || {
            running.printed().len() >= enough
        });
        running.remote.pause().unwrap();
        let before = running.printed();
        let (saved, _) = Disk::of(&running);
        assert_eq!(
            running.printed().len(),
            before.len(),
            "nothing is printed while it is held"
        );
        stream.extend(before);
        drop(running);
        running = saved.restore(code, Shape::default(), round % 2 == 0);
        if round % 2 == 0 {
            running.remote.resume().unwrap();
        }
    }
    until("it prints on at the end", || running.printed().len() >= 500);
    running.remote.pause().unwrap();
    stream.extend(running.printed());
    let broken = stream
        .windows(2)
        .position(|pair| pair[1] != pair[0].wrapping_add(1));
    let around = broken.map(|at| (at, &stream[at.saturating_sub(4)..(at + 6).min(stream.len())]));
    assert_eq!(around, None, "of {} bytes", stream.len());
}

#[test]
fn hazard_a_stream_of_bytes_goes_on_after_a_save_without_one_lost_or_twice() {
    keeps_counting(&counts());
}

#[test]
fn hazard_a_stream_of_strings_goes_on_after_a_save_without_a_byte_lost_or_twice() {
    keeps_counting(&counts_in_strings());
}

#[test]
fn hazard_a_stream_that_interrupts_drive_is_not_stuck_after_a_save() {
    keeps_counting(&counts_by_interrupt());
}

#[test]
fn hazard_what_is_typed_around_a_save_arrives_once() {
    // out dx, al: what was typed comes back.
    let code = Code::default().forever(Code::default().wait_for_key().bytes(&[0xee]));
    let mut running = Running::start(&code, Shape::default());
    let (mut typed, mut heard) = (0_u32, Vec::new());
    let mut type_some = |running: &Running, some: u32| {
        let bytes: Vec<u8> = (typed..typed + some).map(|byte| byte as u8).collect();
        let taken = running.board.serial.receive(&bytes);
        typed += taken as u32;
        taken
    };
    for round in 0..ROUNDS {
        for _ in 0..20 {
            type_some(&running, 40);
        }
        running.remote.pause().unwrap();
        // These are in the port when it is saved, as far as there is room.
        type_some(&running, 40);
        let (saved, _) = Disk::of(&running);
        heard.extend(running.printed());
        drop(running);
        running = saved.restore(&code, Shape::default(), true);
        // It is held once this returns, and so restored.
        running.remote.pause().unwrap();
        type_some(&running, 10);
        running.remote.resume().unwrap();
        until(&format!("it takes more in round {round}"), || {
            type_some(&running, 1) == 1
        });
    }
    let left = typed as usize - heard.len();
    until("all that was typed comes back", || {
        running.printed().len() >= left
    });
    heard.extend(running.printed());
    let expected: Vec<u8> = (0..typed).map(|byte| byte as u8).collect();
    assert_eq!(heard, expected);
}
