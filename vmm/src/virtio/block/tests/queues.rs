//! Several request queues.

use super::*;
use crate::virtio::block::config::SEVERAL_QUEUES;

/// Where the request of a queue has its header, its data and its status.
fn place(queue: usize) -> u64 {
    DATA + 0x2000 * queue as u64
}

/// Offers a read of `sector` in `queue`, kicks it, and waits for nothing.
fn offer(guest: &mut Guest<Block>, queue: usize, kind: u32, sector: u64) {
    let at = place(queue);
    let ring = &mut guest.rings[queue];
    ring.write(at, &header(kind, sector));
    ring.chain(&[
        (at, 16, false),
        (at + 0x1000, if kind == 0 { 513 } else { 1 }, true),
    ]);
    guest.kick(queue);
}

#[test]
fn every_queue_is_served_and_completes_in_its_own_ring() {
    let disk = MemoryDisk::new();
    let device = device_with(3, &disk, "test");
    assert_eq!(device.features() & SEVERAL_QUEUES, SEVERAL_QUEUES);
    let mut number = [0; 2];
    device.read_config(34, &mut number);
    assert_eq!((u16::from_le_bytes(number), device.queue_sizes().len()), (3, 3));
    let mut guest = Guest::start(device, ALL | FLUSH | SEVERAL_QUEUES);
    for round in 1..=3 {
        for queue in [2, 0, 1] {
            offer(&mut guest, queue, 0, queue as u64);
            assert_eq!(guest.wait(queue, round).len(), 1);
            let read = guest.rings[queue].read(place(queue) + 0x1000, 512);
            assert_eq!(read, disk.bytes.lock().expect("lock")[queue * 512..][..512]);
        }
    }
}

#[test]
fn one_queue_says_nothing_of_several() {
    let device = device(&MemoryDisk::new(), "test");
    assert_eq!(device.features() & SEVERAL_QUEUES, 0);
}

/// How many requests of a full queue are served before the only one of another.
fn overtaken() -> usize {
    let disk = MemoryDisk::new();
    let mut guest = Guest::start(device_with(2, &disk, "test"), ALL | FLUSH | SEVERAL_QUEUES);
    let gate = guest.device.gate();
    gate.close();
    for _ in 0..60 {
        offer(&mut guest, 0, 0, 0);
    }
    offer(&mut guest, 1, 4, 0);
    gate.open();
    guest.wait(1, 1);
    guest.wait(0, 60);
    let flushed = disk.log().iter().position(|entry| entry == "flush");
    flushed.expect("it was served")
}

#[test]
fn hazard_a_full_queue_does_not_starve_another() {
    // By as many as there are threads, not by all. A busy host may hold back the thread that has taken it: not each time.
    let tries: Vec<usize> = (0..10).map(|_| overtaken()).collect();
    assert!(tries.iter().any(|&by| by <= 2 * MOST_THREADS), "{tries:?}");
}

#[test]
fn a_closed_gate_holds_back_every_queue_and_drains_them_all() {
    let disk = MemoryDisk::new();
    let mut guest = Guest::start(device_with(4, &disk, "test"), ALL | FLUSH | SEVERAL_QUEUES);
    let gate = guest.device.gate();
    disk.hold(Held::Reads);
    offer(&mut guest, 1, 0, 0);
    offer(&mut guest, 2, 0, 0);
    disk.expect_waiting(2);
    gate.begin_close();
    assert!(
        !gate.is_drained_within(Duration::from_millis(10)),
        "two are in flight"
    );
    disk.hold(None);
    gate.drained();
    assert_eq!((guest.rings[1].completed(), guest.rings[2].completed()), (1, 1));
    for queue in 0..4 {
        offer(&mut guest, queue, 4, 0);
    }
    std::thread::sleep(Duration::from_millis(30));
    assert!(!disk.log().contains(&"flush".to_owned()), "nothing passes");
    gate.open();
    for (queue, count) in [(0, 1), (1, 2), (2, 2), (3, 1)] {
        guest.wait(queue, count);
    }
}

#[test]
fn a_driver_that_enables_some_queues_has_those_also_in_a_fresh_device() {
    let disk = MemoryDisk::new();
    let mut guest = Guest::start(device_with(3, &disk, "test"), ALL | FLUSH | SEVERAL_QUEUES);
    guest.device.reset();
    let states = [Some(guest.rings[0].state()), None, Some(guest.rings[2].state())];
    guest.activate(&states);
    offer(&mut guest, 2, 4, 0);
    guest.wait(2, 1);
    guest.device.pause();
    let queues = guest.device.queues();
    let places: Vec<_> = queues
        .iter()
        .map(|queue| queue.as_ref().map(|at| at.next_used))
        .collect();
    assert_eq!(places, [Some(0), None, Some(1)]);
    guest.device = device_with(3, &disk, "test");
    guest.activate(&queues);
    offer(&mut guest, 2, 4, 0);
    guest.wait(2, 2);
    offer(&mut guest, 0, 4, 0);
    guest.wait(0, 1);
}
