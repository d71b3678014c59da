//! Chains in a table of their own (2.7.5.3).

use super::*;

#[test]
fn an_indirect_table_may_have_as_many_entries_as_the_queue() {
    let (mut ring, mut queue, _) = ring();
    for index in 0..SIZE {
        let next = if index + 1 < SIZE { NEXT } else { 0 };
        ring.descriptor_at(DATA, index, (DATA + 0x1000, 4, WRITE | next, index + 1));
    }
    ring.descriptor(5, (DATA, 16 * u32::from(SIZE), INDIRECT, 0));
    ring.offer(5);
    let chain = popped(&mut queue);
    assert_eq!((chain.head(), chain.writable_len()), (5, 4 * u64::from(SIZE)));
}

#[test]
fn an_indirect_table_may_follow_direct_descriptors() {
    let (mut ring, mut queue, _) = ring();
    ring.write(DATA, b"header");
    ring.write(DATA + 0x100, b"body");
    ring.descriptor_at(DATA + 0x800, 0, (DATA + 0x100, 4, NEXT, 1));
    ring.descriptor_at(DATA + 0x800, 1, (DATA + 0x200, 3, WRITE, 0));
    ring.descriptor(3, (DATA, 6, NEXT, 5));
    ring.descriptor(5, (DATA + 0x800, 32, INDIRECT, 0));
    ring.offer(3);
    let chain = popped(&mut queue);
    assert_eq!((chain.head(), chain.readable_len()), (3, 10));
    let mut text = [0; 10];
    chain.read_at(&ring.memory, 0, &mut text).expect("inside");
    assert_eq!(&text, b"headerbody");
    chain.write_at(&ring.memory, 0, b"end").expect("inside");
    assert_eq!(ring.read(DATA + 0x200, 3), b"end");
}

#[test]
fn hazard_indirect_tables_that_are_none() {
    type Case = (&'static str, fn(&Ring));
    let cases: [Case; 7] = [
        ("indirect table of 0 bytes", |ring| {
            ring.descriptor(0, (DATA, 0, INDIRECT, 0))
        }),
        ("indirect table of 17 bytes", |ring| {
            ring.descriptor(0, (DATA, 17, INDIRECT, 0))
        }),
        ("indirect table of 144 bytes", |ring| {
            ring.descriptor(0, (DATA, 9 * 16, INDIRECT, 0))
        }),
        ("indirect table of 4294967280 bytes", |ring| {
            ring.descriptor(0, (DATA, 0xffff_fff0, INDIRECT, 0))
        }),
        ("indirect descriptor where none is allowed", |ring| {
            ring.descriptor(0, (DATA, 16, INDIRECT | NEXT, 1));
        }),
        ("indirect descriptor where none is allowed", |ring| {
            ring.descriptor_at(DATA, 0, (DATA, 16, INDIRECT, 0));
            ring.descriptor(0, (DATA, 16, INDIRECT, 0));
        }),
        ("descriptor table at 0x400000 outside guest memory", |ring| {
            ring.descriptor(0, (END, 16, INDIRECT, 0));
        }),
    ];
    for (name, prepare) in cases {
        let error = broken_by(|ring| {
            prepare(ring);
            ring.offer(0);
        });
        assert_eq!(error, name);
    }
}

#[test]
fn hazard_a_loop_in_an_indirect_table_ends_too() {
    let error = broken_by(|ring| {
        ring.descriptor_at(DATA, 0, (DATA, 1, NEXT, 1));
        ring.descriptor_at(DATA, 1, (DATA, 1, NEXT, 0));
        ring.descriptor(0, (DATA, 32, INDIRECT, 0));
        ring.offer(0);
    });
    assert_eq!(error, "a chain of more than 8 descriptors");
}

#[test]
fn hazard_direct_and_indirect_descriptors_together_are_no_more_than_the_queue_has() {
    let error = broken_by(|ring| {
        for index in 0..SIZE {
            let next = if index + 1 < SIZE { NEXT } else { 0 };
            ring.descriptor_at(DATA, index, (DATA, 1, next, index + 1));
        }
        ring.descriptor(0, (DATA, 1, NEXT, 1));
        ring.descriptor(1, (DATA, 16 * u32::from(SIZE), INDIRECT, 0));
        ring.offer(0);
    });
    assert_eq!(error, "a chain of more than 8 descriptors");
}

#[test]
fn an_indirect_table_is_refused_unless_negotiated() {
    let memory = memory();
    let mut ring = Ring::new(&memory, 0x4000, SIZE);
    let interrupt = Arc::new(Recorder::default());
    let mut queue = ring.queue(0, &interrupt, VERSION_1);
    ring.descriptor_at(DATA, 0, (DATA, 1, 0, 0));
    ring.descriptor(0, (DATA, 16, INDIRECT, 0));
    ring.offer(0);
    assert!(matches!(queue.pop(), Err(QueueError::IndirectMisused)));
}
