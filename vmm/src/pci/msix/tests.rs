#![expect(clippy::arithmetic_side_effects, reason = "numbers of tests are small")]

use super::*;
use crate::pci::fake::{Messages, Router};

fn table(vectors: u16) -> (Msix, Arc<Messages>) {
    let messages = Arc::new(Messages::default());
    (
        Msix::new(vectors, Arc::new(Router(Arc::clone(&messages))), Requester(0x18)),
        messages,
    )
}

fn program(msix: &Msix, vector: u64, data: u32, control: u32) {
    msix.write_table(vector * 16, &0xfee0_0000_u32.to_le_bytes());
    msix.write_table(vector * 16 + 4, &0_u32.to_le_bytes());
    msix.write_table(vector * 16 + 8, &data.to_le_bytes());
    msix.write_table(vector * 16 + 12, &control.to_le_bytes());
}

fn message(data: u32) -> MsiMessage {
    MsiMessage {
        address: 0xfee0_0000,
        data,
        requester: 0x18,
    }
}

#[test]
fn an_open_vector_sends_its_message() {
    let (msix, messages) = table(3);
    msix.set_control(ENABLE);
    program(&msix, 1, 0x41, 0);
    msix.signal(1);
    msix.signal(1);
    assert_eq!(messages.sent(), [message(0x41); 2]);
    assert_eq!(
        *messages.changes.lock().expect("lock"),
        1,
        "one route for a vector"
    );
    program(&msix, 1, 0x42, 0);
    msix.signal(1);
    assert_eq!(messages.sent(), [message(0x42)]);
}

#[test]
fn masked_vectors_are_pending_until_they_are_open() {
    let (msix, messages) = table(66);
    let pending = || {
        let mut bits = [0; 16];
        msix.read_pending(0, &mut bits[..8]);
        msix.read_pending(8, &mut bits[8..]);
        u128::from_le_bytes(bits)
    };
    msix.signal(65);
    assert_eq!(pending(), 1 << 65);
    msix.set_control(ENABLE | FUNCTION_MASK);
    program(&msix, 65, 1, 0);
    program(&msix, 2, 2, 1);
    msix.signal(2);
    assert_eq!((messages.sent(), pending()), (vec![], 1 << 65 | 1 << 2));
    msix.set_control(ENABLE);
    assert_eq!((messages.sent(), pending()), (vec![message(1)], 1 << 2));
    program(&msix, 2, 2, 0);
    assert_eq!((messages.sent(), pending()), (vec![message(2)], 0));
    msix.set_control(0);
    msix.signal(2);
    assert_eq!((messages.sent(), pending()), (vec![], 1 << 2));
}

#[test]
fn hazard_vectors_that_do_not_exist_are_ignored() {
    let (msix, messages) = table(2);
    msix.set_control(ENABLE);
    program(&msix, 0, 7, 0);
    for vector in 0..=u16::MAX {
        msix.signal(vector);
    }
    assert_eq!(messages.sent(), [message(7)]);
}

#[test]
fn hazard_accesses_of_every_size_at_every_offset_stay_within_the_table() {
    let (msix, _) = table(2);
    msix.set_control(ENABLE);
    let before = msix.state();
    for offset in (0..64).chain([0xff0, 0xfff, u64::MAX - 8, u64::MAX]) {
        for len in 1..=16 {
            let valid =
                matches!(len, 4 | 8) && offset.is_multiple_of(len as u64) && offset + (len as u64) <= 32;
            let mut data = vec![0xa5; len];
            msix.read_table(offset, &mut data);
            if !valid {
                assert!(data.iter().all(|byte| *byte == 0), "{offset} {len}");
                msix.write_table(offset, &vec![0xff; len]);
                assert_eq!(msix.state(), before, "{offset} {len}");
            }
            msix.read_pending(offset, &mut data);
        }
    }
    program(&msix, 1, 9, 0xffff_ffff);
    let mut control = [0; 4];
    msix.read_table(28, &mut control);
    assert_eq!(control, [1, 0, 0, 0], "reserved bits read as zero");
}

#[test]
fn a_saved_table_sends_what_was_pending() {
    let (msix, _) = table(2);
    msix.set_control(ENABLE);
    program(&msix, 1, 9, 1);
    msix.signal(1);
    let mut state = msix.state();
    let (fresh, messages) = table(2);
    fresh.restore(&state);
    assert_eq!(fresh.state(), state);
    program(&fresh, 1, 9, 0);
    assert_eq!(messages.sent(), [message(9)]);
    // A state that says more than the table holds.
    state.entries.resize(3000, (1, 2, 0));
    state.pending.resize(3000, true);
    state.control = 0xffff;
    fresh.restore(&state);
    assert_eq!(fresh.state().entries.len(), 2);
}
