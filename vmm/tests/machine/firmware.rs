//! Machines that boot by firmware: of a few instructions, at the reset vector, in real mode. Its code segment begins
//! 64 KiB below 4 GiB, so these are of 64 KiB, or less and reached at the segment's end.

use kiln_vmm::control::MachineControl;
use kiln_vmm::spec::OnReset;
use tempfile::TempDir;

use crate::guest::{Code, Extra, Running, Shape, refusal};
use crate::save::Disk;

/// Bytes that the code segment reaches.
const SEGMENT: usize = 0x1_0000;
/// A mark at the end of the firmware.
const MARK: u8 = b'm';

/// Firmware of `len` bytes that begins with `code`, and jumps there from the reset vector; its files in a folder.
fn files(code: Code, len: usize, variables: Option<&[u8]>) -> (TempDir, Extra) {
    let folder = tempfile::tempdir().unwrap();
    let mut image = code.into_bytes();
    assert!(image.len() < len - 16);
    image.resize(len - 16, 0);
    // jmp to the beginning: from behind the instruction.
    let back = (SEGMENT - len) as u16;
    let from = (SEGMENT - 16 + 3) as u16;
    image.push(0xe9);
    image.extend(back.wrapping_sub(from).to_le_bytes());
    image.resize(len - 1, 0);
    image.push(MARK);
    let (code, own) = (folder.path().join("code"), folder.path().join("variables"));
    std::fs::write(&code, image).unwrap();
    if let Some(bytes) = variables {
        std::fs::write(&own, bytes).unwrap();
    }
    let firmware = Some((code, variables.map(|_| own)));
    let extra = Extra {
        firmware,
        ..Extra::default()
    };
    (folder, extra)
}

// In real mode: `Code`'s instructions with the prefix for 16 bits are those of 32 bits.

/// mov dx, port
fn port(code: Code, port: u16) -> Code {
    code.bytes(&[0xba]).bytes(&port.to_le_bytes())
}

/// out dx, al
fn print_al(code: Code) -> Code {
    port(code, 0x3f8).bytes(&[0xee])
}

/// mov byte [cs:offset], value
fn store(code: Code, offset: u16, value: u8) -> Code {
    code.bytes(&[0x2e, 0xc6, 0x06])
        .bytes(&offset.to_le_bytes())
        .bytes(&[value])
}

/// mov al, [cs:offset]; then it is printed
fn print_at(code: Code, offset: u16) -> Code {
    print_al(code.bytes(&[0x2e, 0xa0]).bytes(&offset.to_le_bytes()))
}

/// mov ax, 0x2000 to the power management's control: off
fn power_off(code: Code) -> Code {
    port(code, 0x604).bytes(&[0xb8, 0x00, 0x20, 0xef]).halt()
}

/// Reads the first byte of the device that tells firmware.
fn print_signature(code: Code) -> Code {
    // xor ax, ax; out dx, ax; inc dx; in al, dx
    print_al(port(code, 0x510).bytes(&[0x31, 0xc0, 0xef, 0x42, 0xec]))
}

#[test]
fn a_bios_runs_from_the_reset_vector_and_reads_itself_below_1_mib() {
    let code = print_signature(Code::default());
    // ds = 0xf000; mov al, [0xffff]
    let code = print_al(code.bytes(&[0xb8, 0x00, 0xf0, 0x8e, 0xd8, 0xa0, 0xff, 0xff]));
    let (_folder, extra) = files(power_off(code), SEGMENT, None);
    let mut running = Running::start_with(&Code::default(), Shape::default(), extra);
    running.end();
    assert_eq!(running.printed(), [b'Q', MARK]);
}

#[test]
fn a_guest_changes_the_copy_of_a_bios_until_a_reset_and_the_bios_itself_never() {
    // What is written above is not taken; the copy is RAM, and anew after a reset.
    let code = print_at(store(Code::default(), 0xffff, b'x'), 0xffff);
    let code = code.bytes(&[0xb8, 0x00, 0xf0, 0x8e, 0xd8, 0xa0, 0xff, 0xff]);
    // mov byte [0xffff], 'w'; mov al, [0xffff]
    let code = print_al(print_al(code).bytes(&[0xc6, 0x06, 0xff, 0xff, b'w', 0xa0, 0xff, 0xff]));
    // The reset control register.
    let code = port(code, 0xcf9).bytes(&[0xb0, 0x06, 0xee]).halt();
    let (_folder, extra) = files(code, SEGMENT, None);
    let shape = Shape {
        on_reset: OnReset::Restart,
        ..Shape::default()
    };
    let running = Running::start_with(&Code::default(), shape, extra);
    running.wait_for(b"mmwmmwmmw");
}

#[test]
fn what_uefi_writes_to_its_variables_is_in_their_file() {
    const LEN: usize = 0x1000;
    // Two blocks, below the code: the first byte of each.
    let blocks = [0xd000, 0xe000];
    let code = blocks.into_iter().fold(Code::default(), |code, at| {
        let erased = store(store(code, at, 0x20), at, 0xd0);
        let programmed = store(store(print_at(erased, at), at, 0x10), at, b'A');
        print_at(store(programmed, at, 0xff), at)
    });
    // The code is no flash: it takes no command.
    let code = print_at(store(code, 0xffff, 0x70), 0xffff);
    let (folder, extra) = files(power_off(code), LEN, Some(&[0; 0x2000]));
    let mut running = Running::start_with(&Code::default(), Shape::default(), extra);
    running.end();
    assert_eq!(running.printed(), [0x80, b'A', 0x80, b'A', MARK]);
    let kept = std::fs::read(folder.path().join("variables")).unwrap();
    assert_eq!(
        (kept[0], kept[1], kept[0x1000], kept[0x1fff]),
        (b'A', 0xff, b'A', 0xff)
    );
}

#[test]
fn a_machine_that_is_saved_within_a_command_to_its_flash_goes_on_within_it() {
    const VARIABLE: u16 = 0xe000;
    // Until a byte is there: in al, dx; test al, 1; jz to the former. Then it is taken.
    let key = |code| port(port(code, 0x3fd).bytes(&[0xec, 0xa8, 0x01, 0x74, 0xfb]), 0x3f8).bytes(&[0xec]);
    let code = print_al(store(Code::default(), VARIABLE, 0x10).bytes(&[0xb0, b'A']));
    let code = store(store(key(code), VARIABLE, b'Z'), VARIABLE, 0xff);
    let code = power_off(print_at(code, VARIABLE));
    let (_folder, extra) = files(code, 0x1000, Some(&[0xff; 0x1000]));
    let firmware = extra.firmware.clone();
    let running = Running::start_with(&Code::default(), Shape::default(), extra);
    running.wait_for(b"A");
    running.remote.pause().unwrap();
    running.board.serial.receive(b"k");
    let (saved, _) = Disk::of(&running);
    drop(running);
    let extra = |firmware| Extra {
        saved: Some(saved.open(false)),
        firmware,
        ..Extra::default()
    };
    let mut restored = Running::start_with(&Code::default(), Shape::default(), extra(firmware));
    restored.end();
    assert_eq!(restored.printed(), b"Z");
    let without = refusal(&Code::default().halt(), Shape::default(), extra(None));
    assert!(without.contains("firmware: UEFI, this one none"), "{without}");
}
