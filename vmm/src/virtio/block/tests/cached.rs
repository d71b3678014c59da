//! Reads of what the host has in its cache.

use super::*;

#[test]
fn a_small_read_that_need_not_be_waited_for_is_done_at_once_and_any_other_by_a_read() {
    let disk = MemoryDisk::new();
    disk.cached.store(true, Ordering::SeqCst);
    let mut guest = guest(&disk);
    let expected = disk.bytes.lock().expect("lock")[7 * 512..].to_vec();
    assert_eq!(request(&mut guest, 0, 7, Some((BODY, 1024, true))), (0, 1025));
    assert_eq!(guest.rings[0].read(BODY, 1024), expected[..1024]);
    let large = 64 << 10;
    assert_eq!(
        request(&mut guest, 0, 7, Some((BODY, large, true))),
        (0, large + 1)
    );
    assert_eq!(
        guest.rings[0].read(BODY, large as usize),
        expected[..large as usize]
    );
    assert_eq!(request(&mut guest, 1, 0, Some((BODY, 512, false))), (0, 1));
    disk.cached.store(false, Ordering::SeqCst);
    assert_eq!(request(&mut guest, 0, 8, Some((BODY, 512, true))), (0, 513));
    assert_eq!(
        disk.log(),
        ["cached 3584", "read 3584", "write 0+512", "read 4096"]
    );
    assert_eq!(
        guest.device.gate().traffic().read_bytes,
        1024 + u64::from(large) + 512
    );
}

#[test]
fn a_cached_read_that_fails_is_told_once_by_the_read_that_follows() {
    let disk = MemoryDisk::new();
    disk.cached.store(true, Ordering::SeqCst);
    disk.fails.store(true, Ordering::SeqCst);
    let mut guest = guest(&disk);
    assert_eq!(request(&mut guest, 0, 0, Some((BODY, 512, true))), (1, 0));
    assert_eq!(disk.log(), ["cached 0", "read 0"]);
    disk.fails.store(false, Ordering::SeqCst);
    assert_eq!(request(&mut guest, 0, 0, Some((BODY, 512, true))), (0, 513));
}

#[test]
fn cached_reads_pass_the_gate_and_wait_while_it_is_closed() {
    let disk = MemoryDisk::new();
    disk.cached.store(true, Ordering::SeqCst);
    let mut guest = guest(&disk);
    let gate = guest.device.gate();
    gate.close();
    guest.rings[0].write(HEADER, &header(0, 0));
    guest.rings[0].chain(&[(HEADER, 16, false), (BODY, 513, true)]);
    guest.kick(0);
    std::thread::sleep(Duration::from_millis(30));
    assert!(disk.log().is_empty());
    gate.open();
    assert_eq!(guest.wait(0, 1)[0].1, 513);
}
