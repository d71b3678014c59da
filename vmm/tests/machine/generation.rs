//! The generation id: what tells guests with the same past apart.

use std::os::unix::fs::FileExt;

use kiln_vmm::control::MachineControl;
use serde_json::Value;

use crate::guest::{Code, Running, Shape};
use crate::save::Disk;

/// A guest that listens to line 16 and waits until the interrupt is pending.
fn listener() -> Code {
    Code::default()
        // The local APIC on; pin 16 of the I/O APIC to vector 0x61, an edge, not masked.
        .store(0xfee0_00f0, 0x1ff)
        .store(0xfec0_0000, 0x30)
        .store(0xfec0_0010, 0x61)
        .print("L")
        // mov eax, [IRR of the vectors from 0x60 on]; test eax, eax; jz to the first
        .load(0xfee0_0230)
        .bytes(&[0x85, 0xc0, 0x74, 0xf7])
        .print_eax()
        .halt()
}

/// The id in a saved memory.
fn id(saved: &Disk) -> [u8; 16] {
    let place = saved.state().get("generation_at").and_then(Value::as_u64);
    let mut id = [0; 16];
    saved
        .open(false)
        .files
        .memory
        .read_exact_at(&mut id, place.unwrap())
        .unwrap();
    id
}

#[test]
fn hazard_each_restored_guest_gets_a_generation_id_of_its_own_and_is_told_before_it_goes_on() {
    let code = listener();
    let running = Running::start(&code, Shape::default());
    running.wait_for(b"L");
    let (saved, _) = Disk::of(&running);
    let mut ids = vec![[0; 16], id(&saved)];
    for _ in 0..5 {
        let restored = saved.restore(&code, Shape::default(), true);
        let (held, _) = Disk::of(&restored);
        assert_eq!(id(&held), ids[1], "while it is held it is what was saved");
        restored.remote.resume().unwrap();
        restored.wait_for(&2u32.to_le_bytes());
        ids.push(id(&Disk::of(&restored).0));
    }
    assert_eq!(running.printed(), b"L", "the guest that was saved heard nothing");
    assert_eq!(id(&Disk::of(&running).0), ids[1], "and kept its id");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 7, "{ids:x?}");
}
