mod away;
mod cached;
mod gate;
mod queues;
mod ranges;
mod traffic;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use kiln_imagefmt::{DiskError, Segment, Unmap};
use kiln_tests::bounded;

use super::*;
use crate::virtio::VERSION_1;
use crate::virtio::ring::{ALL, DATA, END, Guest, INDIRECT, NEXT, WRITE, cpu_time_of};

const SECTORS: u64 = 256;
const HEADER: u64 = DATA;
const STATUS: u64 = DATA + 0x100;
const BODY: u64 = DATA + 0x1000;

/// Which requests a disk holds back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Looks,
    Reads,
    Writes,
    Flushes,
}

/// A disk in memory that says what was asked of it.
struct MemoryDisk {
    /// Bytes that it says it has; only those of `SECTORS` can be read and written.
    size: AtomicU64,
    bytes: Mutex<Vec<u8>>,
    log: Mutex<Vec<String>>,
    read_only: bool,
    fails: AtomicBool,
    /// Its bytes can be had without waiting.
    cached: AtomicBool,
    /// It cannot write out what has gathered in memory.
    unsettled: AtomicBool,
    /// Requests that wait.
    held: Mutex<Option<Held>>,
    let_go: Condvar,
    waiting: AtomicU64,
}

impl MemoryDisk {
    fn new() -> Arc<Self> {
        Self::make(false)
    }

    fn make(read_only: bool) -> Arc<Self> {
        let bytes = (0..SECTORS * 512).map(|n| (n / 512 + n) as u8).collect();
        Arc::new(Self {
            size: AtomicU64::new(SECTORS * 512),
            bytes: Mutex::new(bytes),
            log: Mutex::default(),
            read_only,
            fails: AtomicBool::new(false),
            cached: AtomicBool::new(false),
            unsettled: AtomicBool::new(false),
            held: Mutex::default(),
            let_go: Condvar::new(),
            waiting: AtomicU64::new(0),
        })
    }

    fn note(&self, what: String) -> Result<(), DiskError> {
        self.log.lock().expect("lock").push(what);
        Self::error_if(&self.fails)
    }

    fn error_if(set: &AtomicBool) -> Result<(), DiskError> {
        if set.load(Ordering::SeqCst) {
            return Err(DiskError::ReadOnly {
                path: "a disk that fails".into(),
            });
        }
        Ok(())
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().expect("lock"))
    }

    fn hold(&self, held: impl Into<Option<Held>>) {
        *self.held.lock().expect("lock") = held.into();
        self.let_go.notify_all();
    }

    fn wait_if_held(&self, kind: Held) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut held = self.held.lock().expect("lock");
        while *held == Some(kind) {
            held = self.let_go.wait(held).expect("lock");
        }
    }

    fn expect_waiting(&self, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.waiting.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Disk for MemoryDisk {
    fn size(&self) -> u64 {
        self.size.load(Ordering::SeqCst)
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, to: &[Segment<'_>]) -> Result<(), DiskError> {
        self.wait_if_held(Held::Reads);
        self.note(format!("read {offset}"))?;
        let span = kiln_imagefmt::disk::Span::new(to);
        let bytes = self.bytes.lock().expect("lock");
        span.copy_from(&bytes[offset as usize..][..span.len()]);
        Ok(())
    }

    fn read_cached(&self, offset: u64, to: &[Segment<'_>]) -> Result<bool, DiskError> {
        if *self.held.lock().expect("lock") == Some(Held::Looks) {
            self.wait_if_held(Held::Looks);
        }
        if !self.cached.load(Ordering::SeqCst) {
            return Ok(false);
        }
        self.note(format!("cached {offset}"))?;
        let span = kiln_imagefmt::disk::Span::new(to);
        let bytes = self.bytes.lock().expect("lock");
        span.copy_from(&bytes[offset as usize..][..span.len()]);
        Ok(true)
    }

    fn write(&self, offset: u64, from: &[Segment<'_>]) -> Result<(), DiskError> {
        self.wait_if_held(Held::Writes);
        let span = kiln_imagefmt::disk::Span::new(from);
        self.note(format!("write {offset}+{}", span.len()))?;
        let mut bytes = self.bytes.lock().expect("lock");
        span.copy_to(&mut bytes[offset as usize..][..span.len()]);
        Ok(())
    }

    fn needs_no_read(&self, _: u64, _: u64) -> bool {
        true
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.wait_if_held(Held::Flushes);
        self.note("flush".into())
    }

    fn settle(&self) -> Result<(), DiskError> {
        Self::error_if(&self.unsettled)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.note(format!("discard {offset}+{len}"))
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: Unmap) -> Result<(), DiskError> {
        self.note(format!("zeroes {offset}+{len} {unmap:?}"))
    }
}

fn device(disk: &Arc<MemoryDisk>, name: &str) -> Block {
    device_with(1, disk, name)
}

fn device_with(queues: u16, disk: &Arc<MemoryDisk>, name: &str) -> Block {
    let setup: Arc<dyn ThreadSetup> = Arc::new(());
    let serial = Serial::of_volume("vol-0123456789abcdef0");
    Block::new(name, Arc::clone(disk) as _, serial, queues, &setup).expect("device")
}

fn guest(disk: &Arc<MemoryDisk>) -> Guest<Block> {
    Guest::start(device(disk, "test"), ALL | FLUSH)
}

fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..].copy_from_slice(&sector.to_le_bytes());
    bytes
}

/// Does one request with the usual three descriptors; returns status and bytes written.
fn request(guest: &mut Guest<Block>, kind: u32, sector: u64, data: Option<(u64, u32, bool)>) -> (u8, u32) {
    let ring = &mut guest.rings[0];
    ring.write(HEADER, &header(kind, sector));
    ring.write(STATUS, &[0xff]);
    let mut buffers = vec![(HEADER, 16, false)];
    buffers.extend(data);
    buffers.push((STATUS, 1, true));
    ring.chain(&buffers);
    let count = ring.completed() + 1;
    let used = guest.wait(0, count);
    (guest.rings[0].read(STATUS, 1)[0], used[0].1)
}

#[test]
fn sectors_are_read_and_written_where_the_header_says() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    let expected = disk.bytes.lock().expect("lock")[7 * 512..][..1024].to_vec();
    assert_eq!(request(&mut guest, 0, 7, Some((BODY, 1024, true))), (0, 1025));
    assert_eq!(guest.rings[0].read(BODY, 1024), expected);
    guest.rings[0].write(BODY, &[0xab; 512]);
    assert_eq!(request(&mut guest, 1, 255, Some((BODY, 512, false))), (0, 1));
    assert_eq!(disk.bytes.lock().expect("lock")[255 * 512..], [0xab; 512]);
    assert_eq!(request(&mut guest, 4, 0, None), (0, 1));
    assert_eq!(disk.log(), ["read 3584", "write 130560+512", "flush"]);
}

#[test]
fn the_serial_is_the_volume_id_without_its_dash() {
    let mut guest = guest(&MemoryDisk::new());
    assert_eq!(request(&mut guest, 8, 0, Some((BODY, 20, true))), (0, 21));
    assert_eq!(guest.rings[0].read(BODY, 20), b"vol0123456789abcdef0");
}

#[test]
fn a_read_only_disk_says_so_and_refuses_every_change() {
    let disk = MemoryDisk::make(true);
    let device = device(&disk, "test");
    assert_eq!(device.features() & READ_ONLY, READ_ONLY);
    let mut guest = Guest::start(device, ALL | FLUSH | READ_ONLY);
    for kind in [1, 11, 13] {
        assert_eq!(request(&mut guest, kind, 0, Some((BODY, 512, false))).0, 1);
    }
    assert_eq!(request(&mut guest, 0, 0, Some((BODY, 512, true))).0, 0);
    assert_eq!(disk.log(), ["read 0"]);
}

#[test]
fn a_driver_without_flush_gets_durable_writes() {
    let disk = MemoryDisk::new();
    let mut guest = Guest::start(device(&disk, "test"), VERSION_1);
    assert_eq!(request(&mut guest, 1, 0, Some((BODY, 512, false))).0, 0);
    assert_eq!(disk.log(), ["write 0+512", "flush"]);
}

#[test]
fn a_failing_disk_is_an_error_status_and_the_device_lives() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    disk.fails.store(true, Ordering::SeqCst);
    assert_eq!(request(&mut guest, 0, 0, Some((BODY, 512, true))), (1, 0));
    disk.fails.store(false, Ordering::SeqCst);
    assert_eq!(request(&mut guest, 0, 0, Some((BODY, 512, true))).0, 0);
}

#[test]
fn a_disk_that_was_taken_away_fails_every_request_and_is_let_go_of() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    assert_eq!(request(&mut guest, 0, 0, Some((BODY, 512, true))).0, 0);
    guest.device.lose_backing();
    assert_eq!(Arc::strong_count(&disk), 1, "nobody has it any more");
    disk.log();
    for (kind, data) in [
        (0, Some((BODY, 512, true))),
        (1, Some((BODY, 512, false))),
        (4, None),
    ] {
        assert_eq!(request(&mut guest, kind, 0, data).0, 1, "{kind}");
    }
    assert!(disk.log().is_empty());
    // Held devices stay held, and idle ones idle.
    guest.device.pause();
    guest.device.lose_backing();
    guest.device.resume();
    assert_eq!(request(&mut guest, 0, 0, Some((BODY, 512, true))).0, 1);
}

#[test]
fn a_write_that_was_done_is_no_error_though_what_waits_cannot_be_written_out() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    disk.unsettled.store(true, Ordering::SeqCst);
    assert_eq!(request(&mut guest, 1, 0, Some((BODY, 512, false))), (0, 1));
    disk.fails.store(true, Ordering::SeqCst);
    assert_eq!(request(&mut guest, 4, 0, None).0, 1, "a flush tells");
}

#[test]
fn hazard_requests_beyond_disk_or_memory_are_an_error_status_and_the_device_lives() {
    for cached in [false, true] {
        refuses_what_lies_beyond(cached);
    }
}

fn refuses_what_lies_beyond(cached: bool) {
    let disk = MemoryDisk::new();
    disk.cached.store(cached, Ordering::SeqCst);
    let mut guest = guest(&disk);
    let cases = [
        (0, SECTORS, (BODY, 512, true)),
        (0, SECTORS - 1, (BODY, 1024, true)),
        (0, u64::MAX, (BODY, 512, true)),
        (1, u64::MAX / 512, (BODY, 512, false)),
        (0, 0, (BODY, 511, true)),
        (0, 0, (BODY, 0xffff_fe00, true)),
        (1, 0, (BODY, u32::MAX, false)),
        (0, 0, (END - 256, 512, true)),
        (1, 0, (END, 512, false)),
        (0, 0, (u64::MAX - 511, 512, true)),
        (1, 0, (0xc000_0000, 512, false)),
    ];
    for (kind, sector, data) in cases {
        let (status, written) = request(&mut guest, kind, sector, Some(data));
        // The status alone is contiguous from the start only where there is no data before it.
        assert_eq!((status, written), (1, kind), "{kind} {sector} {data:x?}");
    }
    assert_eq!(request(&mut guest, 99, 0, None).0, 2, "unknown type");
    assert!(disk.log().is_empty());
    assert!(guest.interrupt.broken().is_empty());
    assert_eq!(request(&mut guest, 0, 0, Some((BODY, 512, true))).0, 0);
}

#[test]
fn hazard_a_request_without_room_for_a_status_needs_a_reset() {
    let shapes: [&[(u64, u32, bool)]; 4] = [
        &[(HEADER, 16, false)],
        &[(HEADER, 16, false), (STATUS, 0, true)],
        &[(HEADER, 16, false), (END, 1, true)],
        &[(HEADER, 16, false), (BODY, 512, true), (u64::MAX, 1, true)],
    ];
    for shape in shapes {
        let disk = MemoryDisk::new();
        let mut guest = guest(&disk);
        guest.rings[0].write(HEADER, &header(0, 0));
        guest.rings[0].chain(shape);
        let why = guest.wait_broken(0);
        assert!(
            why.contains("shorter") || why.contains("outside guest memory"),
            "{why}"
        );
        assert!(disk.log().is_empty(), "not begun");
        // After a reset it works again.
        guest.device.reset();
        let states = [Some(
            crate::virtio::ring::Ring::new(&guest.memory, 0x4000, QUEUE_SIZE).state(),
        )];
        guest.rings = vec![crate::virtio::ring::Ring::new(&guest.memory, 0x4000, QUEUE_SIZE)];
        guest.activate(&states);
        assert_eq!(request(&mut guest, 0, 0, Some((BODY, 512, true))).0, 0);
    }
}

#[test]
fn hazard_a_request_split_at_every_cut_gives_the_same_result() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    let expected = disk.bytes.lock().expect("lock")[512..1536].to_vec();
    // Readable part: header; writable part: data and status as one run of 1025 bytes.
    for cut in [1, 2, 3, 7, 8, 15] {
        for data_cut in [1, 2, 511, 512, 513, 1000, 1023, 1024] {
            let ring = &mut guest.rings[0];
            ring.write(HEADER, &header(0, 1));
            ring.write(BODY, &[0xff; 1025]);
            ring.chain(&[
                (HEADER, cut, false),
                (HEADER + u64::from(cut), 16 - cut, false),
                (BODY, data_cut, true),
                (BODY + u64::from(data_cut), 1025 - data_cut, true),
            ]);
            let count = ring.completed() + 1;
            assert_eq!(guest.wait(0, count)[0].1, 1025);
            assert_eq!(guest.rings[0].read(BODY, 1024), expected, "{cut} {data_cut}");
            assert_eq!(guest.rings[0].read(BODY + 1024, 1), [0]);
        }
    }
    // A write, byte by byte, by an indirect table with header and data in one run.
    let bytes: Vec<u8> = (0..512).map(|n| (n * 7) as u8).collect();
    for pieces in [1_u32, 2, 3, 5, 16, 33, 100, 200] {
        let ring = &mut guest.rings[0];
        ring.write(BODY, &header(1, 9));
        ring.write(BODY + 16, &bytes);
        let (total, table) = (528, DATA + 0x8000);
        for n in 0..pieces {
            let (start, end) = (total * n / pieces, total * (n + 1) / pieces);
            let next = n as u16 + 1;
            ring.descriptor_at(
                table,
                n as u16,
                (BODY + u64::from(start), end - start, NEXT, next),
            );
        }
        ring.descriptor_at(table, pieces as u16, (STATUS, 1, WRITE, 0));
        ring.descriptor(200, (table, (pieces + 1) * 16, INDIRECT, 0));
        ring.offer(200);
        disk.bytes.lock().expect("lock")[9 * 512..][..512].fill(0);
        let count = ring.completed() + 1;
        assert_eq!(guest.wait(0, count), [(200, 1)]);
        assert_eq!(
            disk.bytes.lock().expect("lock")[9 * 512..][..512],
            bytes,
            "{pieces} pieces"
        );
    }
}

#[test]
fn hazard_a_broken_ring_costs_no_time() {
    let disk = MemoryDisk::new();
    let mut guest = Guest::start(device(&disk, "idle-blk"), ALL | FLUSH);
    guest.rings[0].descriptor(0, (DATA, 4, NEXT, 0));
    guest.rings[0].offer(0);
    guest.wait_broken(0);
    let before = cpu_time_of("idle-blk");
    for _ in 0..20 {
        guest.kick(0);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(cpu_time_of("idle-blk") - before <= Duration::from_millis(60));
    assert_eq!(guest.interrupt.broken().len(), 1);
}

#[test]
fn requests_overlap_and_complete_out_of_order() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    disk.hold(Held::Reads);
    for (n, kind) in [(0, 0), (1, 0), (2, 4)] {
        let at = DATA + n * 0x2000;
        guest.rings[0].write(at, &header(kind, n));
        guest.rings[0].chain(&[
            (at, 16, false),
            (at + 0x1000, if kind == 0 { 513 } else { 1 }, true),
        ]);
    }
    // The flush, offered last, is done first.
    assert_eq!(guest.wait(0, 1), [(4, 1)]);
    disk.hold(None);
    assert_eq!(guest.wait(0, 3).len(), 2);
}

#[test]
fn a_saved_device_goes_on_in_a_fresh_one() {
    let disk = MemoryDisk::new();
    let mut guest = guest(&disk);
    assert_eq!(request(&mut guest, 0, 0, Some((BODY, 512, true))).0, 0);
    guest.device.pause();
    // Queued while nobody serves.
    guest.rings[0].write(HEADER, &header(0, 3));
    guest.rings[0].write(STATUS, &[0xff]);
    guest.rings[0].chain(&[(HEADER, 16, false), (BODY, 512, true), (STATUS, 1, true)]);
    let (state, queues) = (guest.device.state(), guest.device.queues());
    let text = serde_json::to_string(&(&state, &queues)).expect("serializes");
    let (state, queues): (DeviceState, Vec<Option<QueueState>>) =
        serde_json::from_str(&text).expect("reads back");
    guest.device = device(&disk, "fresh");
    guest.device.restore(&state).expect("the same disk");
    guest.activate(&queues);
    assert_eq!(guest.wait(0, 2), [(3, 513)]);
    assert_eq!(guest.rings[0].read(STATUS, 1), [0]);
    let DeviceState::Block(own) = state else {
        panic!("{state:?}");
    };
    for other in [
        BlockState {
            sectors: 1,
            ..own.clone()
        },
        BlockState {
            read_only: true,
            ..own.clone()
        },
        BlockState {
            serial: Serial::of_volume("vol-1"),
            ..own.clone()
        },
    ] {
        let text = other.to_string();
        let refusal = guest.device.restore(&DeviceState::Block(other));
        let refusal = refusal.expect_err("another disk").to_string();
        assert!(
            refusal.contains(&text) && refusal.contains(&own.to_string()),
            "{refusal}"
        );
    }
}

#[test]
fn hazard_a_chain_of_a_terabyte_over_one_page_is_refused_at_once() {
    let name = "virtio::block::tests::hazard_a_chain_of_a_terabyte_over_one_page_is_refused_at_once";
    bounded(name, 2 << 20, |turn| {
        let disk = MemoryDisk::new();
        let mut guest = guest(&disk);
        let ring = &mut guest.rings[0];
        ring.write(HEADER, &header(0, 0));
        let mut buffers = vec![(HEADER, 16, false)];
        buffers.extend((0..253).map(|_| (BODY, u32::MAX, true)));
        buffers.push((STATUS, 1, true));
        ring.chain(&buffers);
        turn.next(format_args!("{} buffers of 4 GiB", buffers.len() - 2));
        assert_eq!(guest.wait(0, 1)[0].1, 0);
        assert_eq!(guest.rings[0].read(STATUS, 1), [1]);
        assert!(disk.log().is_empty());
    });
}
