//! What is counted of requests.

use super::*;

#[test]
fn requests_that_succeed_are_counted_with_their_bytes() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    let gate = guest.device.gate();
    request(&mut guest, 0, 0, Some((BODY, 1024, true)));
    request(&mut guest, 0, 8, Some((BODY, 512, true)));
    request(&mut guest, 1, 0, Some((BODY, 512, false)));
    request(&mut guest, 4, 0, None);
    guest.rings[0].write(BODY, &[0; 16]);
    request(&mut guest, 11, 0, Some((BODY, 16, false)));
    let expected = DiskTraffic {
        reads: 2,
        read_bytes: 1536,
        writes: 1,
        written_bytes: 512,
        flushes: 1,
        discards: 1,
    };
    assert_eq!(gate.traffic(), expected);
    // Neither one that is refused, nor one that fails, nor one that is no transfer.
    assert_eq!(request(&mut guest, 0, SECTORS, Some((BODY, 512, true))).0, 1);
    assert_eq!(request(&mut guest, 8, 0, Some((BODY, 20, true))).0, 0);
    disk.fails.store(true, Ordering::SeqCst);
    assert_eq!(request(&mut guest, 1, 0, Some((BODY, 512, false))).0, 1);
    assert_eq!(gate.traffic(), expected);
}
