//! Discards and writes of zeroes.

use super::*;

/// One range of a discard or of a write of zeroes.
fn range(sector: u64, count: u32, flags: u32) -> Vec<u8> {
    [
        &sector.to_le_bytes()[..],
        &count.to_le_bytes(),
        &flags.to_le_bytes(),
    ]
    .concat()
}

/// Does such a request; returns its status.
fn ranges(guest: &mut Guest<Block>, kind: u32, ranges: &[Vec<u8>]) -> u8 {
    let bytes = ranges.concat();
    guest.rings[0].write(BODY, &bytes);
    request(guest, kind, 0, Some((BODY, bytes.len() as u32, false))).0
}

#[test]
fn discard_and_write_zeroes_take_ranges_within_their_limits() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    let mut ask = |kind, list: &[Vec<u8>]| ranges(&mut guest, kind, list);
    assert_eq!(ask(11, &[range(1, 2, 0), range(8, 8, 0)]), 0);
    assert_eq!(ask(13, &[range(3, 1, 1)]), 0);
    assert_eq!(ask(13, &[range(4, 1, 0)]), 0);
    assert_eq!(
        disk.log(),
        [
            "discard 512+1024",
            "discard 4096+4096",
            "zeroes 1536+512 Allowed",
            "zeroes 2048+512 Forbidden"
        ]
    );
    assert_eq!(ask(11, &[range(1, 2, 1)]), 2, "unmap is no flag of a discard");
    assert_eq!(ask(13, &[range(1, 2, 2)]), 2, "unknown flag");
    assert_eq!(
        ask(11, &[range(0, 1, 0), range(SECTORS, 1, 0)]),
        1,
        "beyond the end"
    );
    assert_eq!(ask(13, &[range(u64::MAX, 2, 0)]), 1, "sector overflow");
    assert_eq!(ask(11, &[range(0, u32::MAX, 0)]), 1, "too long");
    assert_eq!(ask(11, &vec![range(0, 1, 0); 3]), 1, "too many");
    assert_eq!(ask(11, &[vec![0; 17]]), 1, "no whole number");
    assert_eq!(ask(13, &[]), 1, "none");
    assert!(disk.log().is_empty(), "nothing of a refused request is done");
}

#[test]
fn a_request_writes_no_more_zeroes_than_data() {
    let disk = MemoryDisk::new();
    disk.size.store(1 << 40, Ordering::SeqCst);
    let mut guest = guest(&disk);
    let told = |at| {
        let mut field = [0; 4];
        guest.device.read_config(at, &mut field);
        u32::from_le_bytes(field)
    };
    let ([discard, discards], [most, segments]) = ([36, 40].map(told), [48, 52].map(told));
    assert_eq!((u64::from(most) * 512, segments), (64 << 20, 1));
    for flags in [0, 1] {
        assert_eq!(ranges(&mut guest, 13, &[range(0, most, flags)]), 0);
        assert_eq!(ranges(&mut guest, 13, &[range(0, most + 1, flags)]), 1);
        assert_eq!(ranges(&mut guest, 13, &vec![range(0, 1, flags); 2]), 1);
    }
    assert_eq!(
        disk.log(),
        ["zeroes 0+67108864 Forbidden", "zeroes 0+67108864 Allowed"]
    );
    let all = vec![range(0, discard, 0); discards as usize];
    assert_eq!(ranges(&mut guest, 11, &all), 0);
    assert_eq!(disk.log(), vec!["discard 0+67108864"; 2]);
}

#[test]
fn all_threads_at_once_discard_no_more_than_a_disk_takes_in_without_writing_out() {
    let device = device_with(MAX_QUEUES, &MemoryDisk::new(), "test");
    let told = |at| {
        let mut field = [0; 4];
        device.read_config(at, &mut field);
        u64::from(u32::from_le_bytes(field))
    };
    let (most, segments) = (told(36) * 512, told(40));
    assert!(
        MOST_THREADS as u64 * segments * most <= 1 << 30,
        "{segments} of {most} bytes"
    );
}
