//! Interrupt vectors: the table in every mode of the capability, and every number of a vector.

use super::{Target, edges};
use crate::virtio::transport::NO_VECTOR;
use crate::virtio::transport::layout::{MSIX_PENDING, MSIX_TABLE};

/// Bytes of an entry.
const ENTRY: u64 = 16;
/// Off; on; on and masked as a whole; masked and off.
const CONTROLS: [u16; 4] = [0, 0x8000, 0xc000, 0x4000];

/// Where the capability's control register is.
fn control(target: &Target, driver: &super::Driver<'_>) -> u16 {
    let read = |offset: u16| {
        let mut byte = [0];
        target.pci.config_read(driver.slot(), offset, &mut byte);
        u16::from(byte[0])
    };
    let mut at = read(0x34);
    while read(at) != 0x11 {
        at = read(at + 1);
    }
    at + 2
}

#[test]
fn hazard_every_byte_of_the_vectors_takes_every_size_and_edge_value_in_every_mode() {
    let target = Target::new();
    let mut writes = 0_u64;
    for driver in target.drivers() {
        let vectors = u64::from(driver.queues()) + 1;
        let at = control(&target, &driver);
        for mode in CONTROLS {
            target.pci.config_write(driver.slot(), at, &mode.to_le_bytes());
            for part in [MSIX_TABLE, MSIX_PENDING] {
                for offset in 0..vectors * ENTRY + ENTRY {
                    for len in 1..=8 {
                        for value in edges(len) {
                            driver.write(part.offset + offset, len, value);
                            driver.read(part.offset + offset, len);
                            writes += 1;
                        }
                    }
                }
            }
            let state = driver.function.state().msix;
            assert_eq!(
                (state.entries.len(), state.pending.len()),
                (vectors as usize, vectors as usize)
            );
        }
    }
    println!("figure: {writes} writes to the vectors' tables");
    target.is_well();
}

#[test]
fn hazard_every_number_of_a_vector_for_every_queue() {
    let target = Target::new();
    for driver in target.drivers() {
        let queues = driver.queues();
        for queue in [0, queues] {
            driver.write(22, 2, queue.into());
            for vector in 0..=u16::MAX {
                for (offset, is_there) in [(16, true), (26, queue < queues)] {
                    driver.write(offset, 2, vector.into());
                    let expected = if is_there && vector <= queues {
                        vector
                    } else {
                        NO_VECTOR
                    };
                    assert_eq!(driver.read(offset, 2), u64::from(expected));
                }
            }
        }
    }
    // None of what was written here sent a message.
    assert!(target.messages.sent().is_empty());
    target.is_well();
}
