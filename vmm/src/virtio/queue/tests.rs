#![expect(clippy::arithmetic_side_effects, reason = "numbers of tests are small")]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::virtio::VERSION_1;
use crate::virtio::ring::{ALL, DATA, END, INDIRECT, NEXT, Recorder, Ring, SEAM, WRITE, memory};

mod indirect;
mod progress;

const SIZE: u16 = 8;

fn ring() -> (Ring, VirtQueue, Arc<Recorder>) {
    let memory = memory();
    let ring = Ring::new(&memory, 0x4000, SIZE);
    let interrupt = Arc::new(Recorder::default());
    let queue = ring.queue(0, &interrupt, ALL);
    (ring, queue, interrupt)
}

fn popped(queue: &mut VirtQueue) -> Chain {
    queue.pop().expect("a good chain").expect("available")
}

#[test]
fn a_chain_gives_its_bytes_in_order_and_takes_them_likewise() {
    let (mut ring, mut queue, _) = ring();
    ring.write(DATA, b"hello, ");
    ring.write(DATA + 0x100, b"world");
    ring.chain(&[
        (DATA, 7, false),
        (DATA + 0x100, 5, false),
        (DATA + 0x200, 3, true),
        (DATA + 0x300, 9, true),
    ]);
    let chain = popped(&mut queue);
    assert_eq!((chain.readable_len(), chain.writable_len()), (12, 12));
    let mut text = [0; 8];
    chain.read_at(&ring.memory, 3, &mut text).expect("inside");
    assert_eq!(&text, b"lo, worl");
    chain.write_at(&ring.memory, 1, b"abcdef").expect("inside");
    assert_eq!(ring.read(DATA + 0x200, 3), b"\0ab");
    assert_eq!(ring.read(DATA + 0x300, 5), b"cdef\0");
    queue.complete(&chain, 7).expect("used ring");
    assert_eq!(ring.used(), [(0, 7)]);
    assert!(queue.pop().expect("empty").is_none());
}

#[test]
fn a_buffer_may_cross_from_one_region_into_the_next() {
    let (mut ring, mut queue, _) = ring();
    ring.chain(&[(SEAM - 3, 6, true)]);
    let chain = popped(&mut queue);
    chain
        .write_at(&ring.memory, 0, b"abcdef")
        .expect("both regions are memory");
    assert_eq!(ring.read(SEAM - 3, 6), b"abcdef");
    assert_eq!(chain.writable(&ring.memory, 0, 6).expect("inside").len(), 2);
}

#[test]
fn hazard_buffers_at_the_edges_of_memory_are_refused_before_a_byte_is_touched() {
    let edges = [
        (END - 4, 8),
        (END, 1),
        (END - 1, u32::MAX),
        (DATA, u32::MAX),
        (u64::MAX - 3, 8),
        (u64::MAX, 1),
        (1 << 63, 1),
    ];
    for (address, len) in edges {
        let (mut ring, mut queue, interrupt) = ring();
        ring.write(END - 4, &[7; 4]);
        ring.chain(&[(address, len, true)]);
        let chain = popped(&mut queue);
        let error = chain.write_at(&ring.memory, 0, &vec![0xee; (len as usize).min(8 << 20)]);
        assert!(
            matches!(error, Err(QueueError::BufferOutsideMemory { .. })),
            "{address:#x}+{len:#x}: {error:?}"
        );
        assert_eq!(ring.read(END - 4, 4), [7; 4], "{address:#x}+{len:#x}");
        queue.complete(&chain, 0).expect("the queue lives");
        assert!(interrupt.broken().is_empty());
    }
}

#[test]
fn hazard_empty_buffers_are_skipped() {
    let (mut ring, mut queue, _) = ring();
    ring.write(DATA, b"ab");
    ring.chain(&[
        (u64::MAX, 0, false),
        (DATA, 1, false),
        (0, 0, false),
        (DATA + 1, 1, false),
    ]);
    let chain = popped(&mut queue);
    let mut text = [0; 2];
    chain
        .read_at(&ring.memory, 0, &mut text)
        .expect("two bytes in all");
    assert_eq!(&text, b"ab");
    let mut text = [0; 3];
    assert!(matches!(
        chain.read_at(&ring.memory, 0, &mut text),
        Err(QueueError::ChainTooShort { wanted: 3 })
    ));
}

/// Offers what `prepare` made at descriptor 0 and returns the error that it is.
fn broken_by(prepare: impl FnOnce(&mut Ring)) -> String {
    let (mut ring, mut queue, interrupt) = ring();
    prepare(&mut ring);
    let error = queue.pop().expect_err("the driver broke the ring");
    assert_eq!(interrupt.broken(), [error.to_string()], "told once");
    // An entry that is broken is looked at once: nothing comes any more, and nothing is told again.
    for _ in 0..1000 {
        assert!(queue.pop().expect("empty now").is_none());
        assert!(!queue.rearm().expect("no more"));
    }
    assert_eq!(interrupt.broken().len(), 1);
    error.to_string()
}

#[test]
fn hazard_a_chain_that_loops_ends_after_as_many_steps_as_the_queue_has_entries() {
    let itself = broken_by(|ring| {
        ring.descriptor(0, (DATA, 4, NEXT, 0));
        ring.offer(0);
    });
    assert_eq!(itself, "a chain of more than 8 descriptors");
    let all = broken_by(|ring| {
        for index in 0..SIZE {
            ring.descriptor(index, (DATA, 4, NEXT, (index + 1) % SIZE));
        }
        ring.offer(3);
    });
    assert_eq!(all, "a chain of more than 8 descriptors");
}

#[test]
fn a_chain_may_have_as_many_buffers_as_the_queue_has_entries() {
    let (mut ring, mut queue, _) = ring();
    ring.chain(&[(DATA, 4, false); SIZE as usize]);
    assert_eq!(popped(&mut queue).readable_len(), 4 * u64::from(SIZE));
}

#[test]
fn hazard_an_index_beyond_the_table_is_no_descriptor() {
    for index in [SIZE, SIZE + 1, 0x7fff, 0xffff] {
        let head = broken_by(|ring| ring.offer(index));
        assert_eq!(head, format!("descriptor {index} of a table of 8"));
        let next = broken_by(|ring| {
            ring.descriptor(0, (DATA, 4, NEXT, index));
            ring.offer(0);
        });
        assert_eq!(next, format!("descriptor {index} of a table of 8"));
    }
}

#[test]
fn hazard_more_available_than_the_queue_holds() {
    for index in [SIZE + 1, 0x7fff, 0xffff] {
        let overflow = broken_by(|ring| {
            ring.descriptor(0, (DATA, 4, 0, 0));
            ring.set_available(index);
        });
        assert_eq!(
            overflow,
            "more requests made available than the queue's 8 entries"
        );
    }
}

#[test]
fn hazard_an_entry_offered_again_while_it_is_in_flight() {
    let (mut ring, mut queue, interrupt) = ring();
    ring.descriptor(0, (DATA, 4, WRITE, 0));
    let mut in_flight = Vec::new();
    for _ in 0..SIZE {
        ring.offer(0);
        in_flight.push(popped(&mut queue));
    }
    ring.offer(0);
    assert!(queue.pop().is_err());
    assert_eq!(interrupt.broken().len(), 1);
    for chain in &in_flight {
        queue.complete(chain, 4).expect("still counted");
    }
    assert!(ring.used().is_empty(), "a broken ring is not written to");
}

#[test]
fn hazard_readable_after_writable_is_no_chain() {
    let order = broken_by(|ring| {
        ring.chain(&[(DATA, 4, true), (DATA, 4, false)]);
    });
    assert_eq!(order, "readable buffer after a writable one");
}

#[test]
fn hazard_rings_outside_memory_or_misaligned_make_no_queue() {
    let memory = memory();
    let good = Ring::new(&memory, 0x4000, SIZE).state();
    let edges = |f: fn(&mut QueueState, u64)| {
        [END, END - 16, u64::MAX - 15, 1, 0xffff_ffff_0000].map(|value| {
            let mut state = good;
            f(&mut state, value);
            state
        })
    };
    let mut bad: Vec<QueueState> = Vec::new();
    bad.extend(edges(|state, value| state.descriptors = value));
    bad.extend(edges(|state, value| state.available = value));
    bad.extend(edges(|state, value| state.used = value));
    bad.push(QueueState { available: 0, ..good });
    bad.extend([0, 3, 16, 0xffff].map(|size| QueueState { size, ..good }));
    for state in bad {
        let interrupt = Arc::new(Recorder::default()) as Arc<dyn Interrupt>;
        let queue = VirtQueue::new(0, SIZE, &state, memory.clone(), interrupt, ALL);
        assert!(
            matches!(queue, Err(QueueError::RingsUnusable { queue: 0 })),
            "{state:?}"
        );
    }
}

#[test]
fn hazard_each_descriptor_is_read_once() {
    let (mut ring, mut queue, _) = ring();
    ring.write(DATA, b"good");
    ring.chain(&[(DATA, 4, false), (DATA + 0x100, 4, true)]);
    let chain = popped(&mut queue);
    // The driver changes its mind after the check.
    ring.descriptor(0, (END, u32::MAX, NEXT, 0));
    ring.descriptor(1, (0x4000, 0x4000, WRITE, 0));
    let mut text = [0; 4];
    chain.read_at(&ring.memory, 0, &mut text).expect("as it was");
    assert_eq!(&text, b"good");
    assert_eq!(chain.writable_len(), 4);
    chain.write_at(&ring.memory, 0, b"back").expect("as it was");
    assert_eq!(ring.read(DATA + 0x100, 4), b"back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any bytes in the rings: an error or a bounded chain, and never more chains than entries.
    #[test]
    fn hazard_random_rings_end_in_chains_or_one_error(
        descriptors in prop::collection::vec((any::<u64>(), any::<u32>(), 0u16..8, 0u16..10), 8),
        small in any::<bool>(),
        heads in prop::collection::vec(0u16..10, 8),
        available in 0u16..12,
    ) {
        let (mut ring, mut queue, interrupt) = ring();
        for (index, (address, len, flags, next)) in (0..).zip(descriptors) {
            let (address, len) = if small { (DATA + address % 0x1000 * 16, len % 256) } else { (address, len) };
            ring.descriptor(index, (address, len, flags, next));
        }
        for head in heads {
            ring.offer(head);
        }
        ring.set_available(available);
        let mut chains = 0;
        while let Ok(Some(chain)) = queue.pop() {
            chains += 1;
            prop_assert!(chains <= SIZE);
            prop_assert!(chain.readable_len() + chain.writable_len() <= u64::from(SIZE) << 32);
            let _ = chain.readable(&ring.memory, 0, chain.readable_len());
            let _ = chain.write_at(&ring.memory, 0, &[0; 16]);
            let _ = queue.complete(&chain, 0);
        }
        prop_assert!(interrupt.broken().len() <= 1);
    }
}

/// A second vCPU rewrites the descriptors while the device looks at them: each look gives a chain as it
/// was at some moment of each descriptor, within all bounds, or an error; the queue stays whole.
#[test]
fn hazard_descriptors_that_change_while_they_are_read() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let stop = Arc::new(AtomicBool::new(false));
    let (mut ring, _, _) = ring();
    let flipping = std::thread::spawn({
        let (stop, other) = (Arc::clone(&stop), Ring::new(&ring.memory, 0xc000, SIZE));
        move || {
            let mut n = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                n = n
                    .wrapping_mul(0x5851_f42d_4c95_7f2d)
                    .wrapping_add(0x1405_7b7e_f767_814f);
                let index = (n >> 33) as u16 % SIZE;
                let good = n & 1 << 20 == 0;
                let (address, len) = if good { (DATA, 64) } else { (n, n as u32) };
                other.descriptor_at(
                    0x4000,
                    index,
                    (address, len, (n >> 40) as u16 & 3, (n >> 50) as u16 % 9),
                );
            }
        }
    });
    for _ in 0..2000 {
        let interrupt = Arc::new(Recorder::default());
        let mut queue = ring.queue(0, &interrupt, ALL);
        ring.set_available(0);
        ring.offer(0);
        while let Ok(Some(chain)) = queue.pop() {
            let (readable, writable) = (chain.readable_len(), chain.writable_len());
            let mut bytes = [0; 64];
            let _ = chain.read_at(&ring.memory, 0, &mut bytes);
            if chain.writable(&ring.memory, 0, writable).is_ok() {
                chain
                    .write_at(&ring.memory, 0, &vec![1; writable.min(4096) as usize])
                    .expect("checked");
            }
            assert_eq!((chain.readable_len(), chain.writable_len()), (readable, writable));
            queue.complete(&chain, 0).expect("used ring");
        }
        assert!(interrupt.broken().len() <= 1);
    }
    stop.store(true, Ordering::Relaxed);
    flipping.join().expect("no panic");
}
