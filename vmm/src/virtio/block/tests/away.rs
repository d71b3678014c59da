//! Small writes, which the thread that takes requests does itself.

use super::*;
use crate::virtio::block::intake::PATIENCE;

/// Offers requests (type, sector), each with its own header, data and status, and kicks once.
fn offer(guest: &mut Guest<Block>, requests: &[(u32, u64)]) {
    let ring = &mut guest.rings[0];
    for (n, (kind, sector)) in (0..).zip(requests) {
        let at = DATA + n * 0x2000;
        ring.write(at, &header(*kind, *sector));
        ring.write(at + 0x1000, &[*sector as u8; 512]);
        let (data, status) = (at + 0x1000, at + 0x1800);
        match kind {
            0 => ring.chain(&[(at, 16, false), (data, 513, true)]),
            1 => ring.chain(&[(at, 16, false), (data, 512, false), (status, 1, true)]),
            _ => ring.chain(&[(at, 16, false), (status, 1, true)]),
        };
    }
    guest.kick(0);
}

#[test]
fn writes_in_a_row_are_all_done_and_a_flush_behind_them_too() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    let gate = guest.device.gate();
    for round in 1..=20 {
        // All are there before the first is taken.
        gate.close();
        let writes: Vec<_> = (0..40)
            .map(|sector| (1, sector + round))
            .chain([(4, 0)])
            .collect();
        offer(&mut guest, &writes);
        gate.open();
        guest.wait(0, 41 * round as u16);
        let bytes = disk.bytes.lock().expect("lock");
        for sector in round..40 + round {
            assert_eq!(bytes[sector as usize * 512..][..512], [sector as u8; 512]);
        }
        drop(bytes);
        let log = disk.log();
        assert_eq!(log.len(), 41);
        assert!(log.contains(&"flush".to_owned()));
    }
}

#[test]
fn the_driver_is_told_of_writes_in_a_row_together() {
    let disk = MemoryDisk::new();
    // Without EVENT_IDX a driver is told each time that there is something to tell.
    let mut guest = Guest::start(device(&disk, "test"), VERSION_1 | FLUSH);
    let gate = guest.device.gate();
    gate.close();
    let writes: Vec<_> = (0..60).map(|sector| (1, sector)).collect();
    offer(&mut guest, &writes);
    gate.open();
    guest.wait(0, 60);
    // Once; more often if a thread was overdue, or had none left to take for a moment.
    guest.device.pause();
    let told = guest.interrupt.used();
    assert!((1..30).contains(&told), "{told} times");
}

#[test]
fn hazard_the_driver_is_told_of_what_was_done_before_a_request_that_takes_long() {
    let disk = MemoryDisk::new();
    let mut guest = Guest::start(device(&disk, "test"), VERSION_1 | FLUSH);
    let gate = guest.device.gate();
    for (held, last) in [(Held::Flushes, 4), (Held::Reads, 0)] {
        disk.hold(held);
        let (done, told) = (guest.rings[0].completed(), guest.interrupt.used());
        gate.close();
        offer(&mut guest, &[(1, 0), (1, 1), (last, 2)]);
        gate.open();
        let ring = &guest.rings[0];
        guest
            .interrupt
            .wait(|state| ring.completed() == done + 2 && state.used > told);
        disk.hold(None);
        guest.interrupt.wait(|_| ring.completed() == done + 3);
    }
}

#[test]
fn hazard_a_write_that_takes_long_holds_up_nothing_behind_it() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    let gate = guest.device.gate();
    disk.hold(Held::Writes);
    gate.close();
    offer(&mut guest, &[(1, 0), (1, 1), (0, 2), (4, 0)]);
    gate.open();
    // Two threads are away with the writes; the read and the flush are done by others.
    assert_eq!(guest.wait(0, 2).len(), 2);
    let mut log = disk.log();
    log.sort();
    assert_eq!(log, ["flush", "read 1024"]);
    disk.hold(None);
    assert_eq!(guest.wait(0, 4).len(), 2);
    assert_eq!(disk.log().len(), 2);
}

#[test]
fn hazard_a_gate_closes_though_the_turn_was_taken_over_from_who_has_passed_it() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    let gate = guest.device.gate();
    disk.hold(Held::Looks);
    offer(&mut guest, &[(0, 1)]);
    disk.expect_waiting(1);
    // Another thread has the turn by now, and waits before the gate with it.
    std::thread::sleep(10 * PATIENCE);
    gate.begin_close();
    guest.kick(0);
    std::thread::sleep(10 * PATIENCE);
    disk.hold(None);
    assert!(gate.is_drained_within(Duration::from_secs(20)));
    gate.open();
    assert_eq!(guest.wait(0, 1).len(), 1);
    assert_eq!(disk.log(), ["read 512"]);
}

#[test]
fn hazard_a_request_that_was_taken_is_done_though_the_turn_was_taken_over_and_no_other_comes() {
    for kind in [0, 4] {
        let disk = MemoryDisk::new();
        let mut guest = guest(&disk);
        disk.hold(Held::Looks);
        offer(&mut guest, &[(0, 1), (kind, 2)]);
        disk.expect_waiting(1);
        // Others have the turn by now, and wait for a kick.
        std::thread::sleep(10 * PATIENCE);
        disk.hold(None);
        let ring = &guest.rings[0];
        guest.interrupt.wait(|_| ring.completed() == 2);
    }
}

#[test]
fn hazard_the_driver_is_told_though_the_turn_was_taken_over_by_who_waits_for_it() {
    for cached in [false, true] {
        let disk = MemoryDisk::new();
        disk.cached.store(cached, Ordering::SeqCst);
        let mut guest = guest(&disk);
        disk.hold(Held::Looks);
        offer(&mut guest, &[(0, 1)]);
        disk.expect_waiting(1);
        // Another has the turn by now, and waits for a kick.
        std::thread::sleep(10 * PATIENCE);
        disk.hold(None);
        guest.interrupt.wait(|state| state.used > 0);
    }
}

#[test]
fn a_device_stops_and_goes_on_though_threads_are_away() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    for round in 1..=50 {
        offer(&mut guest, &[(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (0, 5)]);
        guest.device.pause();
        guest.device.resume();
        guest.wait(0, 6 * round);
    }
    assert_eq!(disk.log().len(), 300);
}

#[test]
fn a_gate_closes_between_writes_that_one_thread_does_in_a_row() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    let gate = guest.device.gate();
    for round in 1..=20 {
        let writes: Vec<_> = (0..60).map(|sector| (1, sector)).collect();
        offer(&mut guest, &writes);
        gate.close();
        let done = disk.log().len();
        std::thread::sleep(Duration::from_millis(3));
        assert!(disk.log().is_empty(), "nothing passes");
        gate.open();
        guest.wait(0, 60 * round);
        assert_eq!(done + disk.log().len(), 60);
    }
}
