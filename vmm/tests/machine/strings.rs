//! Instructions that take several accesses to a device, in the middle of which their machine is held.

use kiln_vmm::control::MachineControl;

use crate::guest::{Code, until};
use crate::in_flight::with_empty_disk;
use crate::save::Disk;

/// Configuration space of the disk, in which hardly two words are equal.
const CONFIG: u32 = 0xb000_8000;
const FIRST: u32 = 0x20_0000;
const NEXT: u32 = 0x20_1000;

/// `instruction`, a `rep` from `from` to `to`, over 44 words.
fn each(instruction: &[u8], from: u32, to: u32) -> Code {
    // mov esi, from; mov edi, to; mov ecx, 44
    let code = Code::default().bytes(&[0xbe]).bytes(&from.to_le_bytes());
    let code = code.bytes(&[0xbf]).bytes(&to.to_le_bytes());
    code.bytes(&[0xb9, 44, 0, 0, 0]).bytes(instruction)
}

/// Copies the configuration space with one instruction, again and again, and prints `X` if it is not as it was at
/// first, and a dot.
fn copies() -> Code {
    let copy = |to| each(&[0xf3, 0xa5], CONFIG, to).into_bytes();
    let compare = each(&[0xf3, 0xa7], FIRST, NEXT).into_bytes();
    // je over the print
    let body = Code::default().bytes(&copy(NEXT)).bytes(&compare);
    let body = body.bytes(&[0x74, 0x07]).print("X").print(".");
    Code::default().bytes(&copy(FIRST)).print("R").forever(body)
}

#[test]
fn hazard_a_copy_from_a_device_is_whole_though_the_machine_is_held_and_saved_in_its_middle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let running = with_empty_disk(&copies(), &path);
    running.wait_for(b"R");
    for round in 0..200 {
        let before = running.printed().len();
        if round % 20 == 0 {
            Disk::of(&running);
        } else {
            running.remote.pause().unwrap();
            running.remote.resume().unwrap();
        }
        until(&format!("it copies on in round {round}"), || {
            running.printed().len() > before
        });
    }
    let wrong = running.printed().iter().filter(|&&byte| byte == b'X').count();
    assert_eq!(wrong, 0, "of {} copies", running.printed().len());
}
