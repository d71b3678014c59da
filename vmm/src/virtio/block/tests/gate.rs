//! What is in flight, when the gate closes or the device is reset.

use super::*;

#[test]
fn a_closed_gate_drains_and_holds_back_until_it_opens() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    let gate = guest.device.gate();
    disk.hold(Held::Reads);
    guest.rings[0].write(HEADER, &header(0, 0));
    guest.rings[0].chain(&[(HEADER, 16, false), (BODY, 513, true)]);
    guest.kick(0);
    disk.expect_waiting(1);
    let closing = std::thread::spawn({
        let gate = Arc::clone(&gate);
        move || gate.close()
    });
    std::thread::sleep(Duration::from_millis(30));
    assert!(!closing.is_finished(), "a request is in flight");
    disk.hold(None);
    closing.join().expect("closes");
    assert_eq!(guest.rings[0].used().len(), 1, "what was in flight is completed");
    guest.rings[0].chain(&[(HEADER, 16, false), (BODY, 513, true)]);
    guest.kick(0);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(guest.rings[0].completed(), 1, "nothing passes");
    // A device can be paused behind a closed gate.
    guest.device.pause();
    guest.device.resume();
    gate.open();
    assert_eq!(guest.wait(0, 2).len(), 1);
}

#[test]
fn a_flush_that_takes_long_keeps_no_gate_from_closing() {
    let disk = MemoryDisk::new();
    for features in [ALL | FLUSH, ALL] {
        let mut guest = Guest::start(device(&disk, "test"), features);
        let gate = guest.device.gate();
        disk.waiting.store(0, Ordering::SeqCst);
        disk.hold(Held::Flushes);
        // A flush; or, of a driver that knows of none, a write that is to be durable.
        let kind = if features & FLUSH == 0 { 1 } else { 4 };
        let ring = &mut guest.rings[0];
        ring.write(HEADER, &header(kind, 0));
        let length = if kind == 1 { 512 } else { 0 };
        ring.chain(&[(HEADER, 16, false), (BODY, length, false), (STATUS, 1, true)]);
        guest.kick(0);
        disk.expect_waiting(1);
        gate.begin_close();
        assert!(gate.is_drained_within(Duration::from_secs(60)), "request {kind}");
        assert_eq!(guest.rings[0].completed(), 0, "request {kind} is not done yet");
        // It ends behind the closed gate; what comes after it waits.
        disk.hold(None);
        assert_eq!(guest.wait(0, 1).len(), 1);
        guest.rings[0].chain(&[(HEADER, 16, false), (BODY, length, false), (STATUS, 1, true)]);
        guest.kick(0);
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(guest.rings[0].completed(), 1, "nothing passes");
        gate.open();
        guest.wait(0, 2);
    }
}

#[test]
fn hazard_no_write_to_memory_after_a_reset_is_acknowledged() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    disk.hold(Held::Reads);
    // A request in each entry of the ring: its buffers are in a table of its own.
    for n in 0..QUEUE_SIZE {
        let at = DATA + u64::from(n) * 0x1000;
        let ring = &mut guest.rings[0];
        ring.write(at, &header(0, n.into()));
        ring.descriptor_at(at + 0x800, 0, (at, 16, NEXT, 1));
        ring.descriptor_at(at + 0x800, 1, (at + 0x400, 513, WRITE, 0));
        ring.descriptor(n, (at + 0x800, 32, INDIRECT, 0));
        ring.offer(n);
    }
    guest.kick(0);
    disk.expect_waiting(THREADS as u64);
    let free = std::thread::spawn({
        let disk = Arc::clone(&disk);
        move || {
            std::thread::sleep(Duration::from_millis(50));
            disk.hold(None);
        }
    });
    guest.device.reset();
    let before = guest.rings[0].read(0, END as usize);
    free.join().expect("thread");
    guest.kick(0);
    std::thread::sleep(Duration::from_millis(50));
    assert!(
        before == guest.rings[0].read(0, END as usize),
        "guest memory changed after the reset"
    );
}
