//! How far both sides are, and how they tell each other.

use super::*;

/// Has one request done; how often the driver has been interrupted since the beginning.
fn interrupts_after_one(ring: &mut Ring, queue: &mut VirtQueue, interrupt: &Recorder) -> u64 {
    ring.chain(&[(DATA, 4, true)]);
    let chain = popped(queue);
    queue.complete(&chain, 4).expect("used ring");
    queue.notify().expect("rings");
    let mut used = 0;
    interrupt.wait(|state| {
        used = state.used;
        true
    });
    used
}

#[test]
fn a_driver_that_asked_for_no_interrupt_gets_none() {
    let (mut ring, mut queue, interrupt) = ring();
    // used_event: interrupt after the third completion.
    ring.write(0x4000 + 0x2000 + 4 + u64::from(SIZE) * 2, &2_u16.to_le_bytes());
    for expected in [0, 0, 1, 1] {
        assert_eq!(interrupts_after_one(&mut ring, &mut queue, &interrupt), expected);
    }
}

#[test]
fn a_driver_that_counts_no_events_is_interrupted_each_time() {
    let memory = memory();
    let mut ring = Ring::new(&memory, 0x4000, SIZE);
    let interrupt = Arc::new(Recorder::default());
    let mut queue = ring.queue(0, &interrupt, VERSION_1 | INDIRECT_DESC);
    for expected in 1..4 {
        assert_eq!(interrupts_after_one(&mut ring, &mut queue, &interrupt), expected);
    }
}

#[test]
fn who_asks_for_a_kick_is_told_of_what_came_before() {
    let (mut ring, mut queue, _) = ring();
    assert!(!queue.rearm().expect("rings"));
    ring.chain(&[(DATA, 4, true)]);
    assert!(queue.rearm().expect("rings"));
    popped(&mut queue);
    assert!(!queue.rearm().expect("rings"));
}

#[test]
fn a_request_that_is_put_back_comes_again() {
    let (mut ring, mut queue, _) = ring();
    ring.chain(&[(DATA, 4, true)]);
    ring.chain(&[(DATA, 8, true)]);
    for _ in 0..=SIZE {
        let chain = popped(&mut queue);
        assert_eq!(chain.writable_len(), 4);
        queue.put_back(chain);
    }
    let heads = [popped(&mut queue), popped(&mut queue)].map(|chain| chain.head());
    assert_eq!(heads, [0, 1]);
}

#[test]
fn another_queue_goes_on_from_the_state_of_one() {
    let (mut ring, mut queue, interrupt) = ring();
    for _ in 0..3 {
        ring.chain(&[(DATA, 4, true)]);
        let chain = popped(&mut queue);
        queue.complete(&chain, 1).expect("used ring");
    }
    let state = queue.state();
    assert_eq!(
        state,
        QueueState {
            next_available: 3,
            next_used: 3,
            ..ring.state()
        }
    );
    ring.chain(&[(DATA, 4, true)]);
    let interrupt = Arc::clone(&interrupt) as Arc<dyn Interrupt>;
    let mut queue =
        VirtQueue::new(0, SIZE, &state, ring.memory.clone(), interrupt, ALL).expect("a good ring");
    let chain = popped(&mut queue);
    queue.complete(&chain, 2).expect("used ring");
    assert_eq!(ring.used(), [(0, 1), (1, 1), (2, 1), (3, 2)]);
}
