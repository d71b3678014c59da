use std::sync::Arc;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::pages::{MAX_PAGES, PAGE};
use super::*;
use crate::memory::GuestMemory;
use crate::virtio::ring::{self, ALL, DATA, END, Guest, Recorder, Ring, SEAM};
use crate::virtio::{Begin, Interrupt, Stop};

/// The rings of the three queues.
const RINGS: std::ops::Range<u64> = 0x4000..0x1_0000;
/// Where page numbers are put.
const NUMBERS: std::ops::Range<u64> = DATA..DATA + 0x4000;
const INFLATE: usize = 0;
const DEFLATE: usize = 1;
const FREE: usize = 2;

fn balloon() -> Balloon {
    Balloon::new(END, HugePages::default(), Arc::new(())).expect("device")
}

fn guest() -> Guest<Balloon> {
    Guest::start(balloon(), ALL | REPORTING | DEFLATE_ON_OOM)
}

/// Fills all memory but the rings.
fn fill(memory: &GuestMemory) {
    let byte = [7; PAGE as usize];
    for at in (0..END).step_by(byte.len()).filter(|at| !RINGS.contains(at)) {
        memory.write_slice(&byte, GuestAddress(at)).expect("in memory");
    }
}

/// The pages that are empty, all others being as they were filled but those of the rings; by their numbers.
fn emptied(memory: &GuestMemory) -> Vec<u64> {
    let mut empty = Vec::new();
    let mut bytes = [0; PAGE as usize];
    for at in (0..END).step_by(bytes.len()).filter(|at| !RINGS.contains(at)) {
        memory
            .read_slice(&mut bytes, GuestAddress(at))
            .expect("in memory");
        if bytes == [0; PAGE as usize] {
            empty.push(at / PAGE);
        } else if !NUMBERS.contains(&at) {
            assert_eq!(bytes, [7; PAGE as usize], "{at:#x}");
        }
    }
    empty
}

/// Puts page numbers where requests have their data, and offers them as one.
fn name(guest: &mut Guest<Balloon>, queue: usize, pages: &[u32]) {
    let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
    guest.rings[queue].write(DATA, &bytes);
    guest.rings[queue].chain(&[(DATA, bytes.len() as u32, false)]);
}

#[test]
fn pages_that_are_put_into_the_balloon_go_back_to_the_host_and_no_others() {
    let mut guest = guest();
    fill(&guest.memory);
    // As Linux does, from above; one twice, and across the seam of two regions.
    let seam = (SEAM / PAGE) as u32;
    name(&mut guest, INFLATE, &[seam + 1, seam, seam - 1, 40, 40, 900]);
    assert_eq!(guest.wait(INFLATE, 1), [(0, 0)]);
    let seam = u64::from(seam);
    assert_eq!(emptied(&guest.memory), [40, seam - 1, seam, seam + 1, 900]);
}

#[test]
fn pages_that_are_taken_out_stay_as_they_are_and_are_looked_at() {
    let mut guest = guest();
    fill(&guest.memory);
    name(&mut guest, DEFLATE, &[40, 41]);
    assert_eq!(guest.wait(DEFLATE, 1), [(0, 0)]);
    assert_eq!(emptied(&guest.memory), [] as [u64; 0]);
    name(&mut guest, DEFLATE, &[40, (END / PAGE) as u32]);
    assert_eq!(
        guest.wait_broken(DEFLATE),
        "buffer of 4096 bytes at 0x400000 outside guest memory"
    );
}

#[test]
fn of_what_is_reported_as_free_whole_pages_go_back() {
    let mut guest = guest();
    fill(&guest.memory);
    guest.rings[FREE].chain(&[
        (0x5_0000, 0x2000, true),
        // Neither begins nor ends with a page, within one, none at all, and across the seam.
        (0x6_0001, 0x2fff, true),
        (0x7_0001, 0xffe, true),
        (0x8_0000, 0, true),
        (SEAM - 0x800, 0x2000, true),
    ]);
    assert_eq!(guest.wait(FREE, 1), [(0, 0)]);
    assert_eq!(emptied(&guest.memory), [0x50, 0x51, 0x61, 0x62, SEAM / PAGE]);
}

#[test]
fn hazard_nothing_of_a_request_goes_back_of_which_something_is_no_memory_of_the_guest() {
    let outside = [(END - 0x1000, 0x2000), (END, 0x1000), (u64::MAX - 0xfff, 0x1000)];
    for (address, len) in outside {
        let mut guest = guest();
        fill(&guest.memory);
        guest.rings[FREE].chain(&[(0x5_0000, 0x2000, true), (address, len, true)]);
        assert_eq!(
            guest.wait_broken(FREE),
            format!("buffer of {len} bytes at {address:#x} outside guest memory")
        );
        assert_eq!(emptied(&guest.memory), [] as [u64; 0]);
        // The other queues go on.
        name(&mut guest, INFLATE, &[40]);
        guest.wait(INFLATE, 1);
        assert_eq!(emptied(&guest.memory), [40]);
    }
    for pages in [[40, (END / PAGE) as u32], [u32::MAX, 40]] {
        let mut guest = guest();
        fill(&guest.memory);
        name(&mut guest, INFLATE, &pages);
        assert!(guest.wait_broken(INFLATE).ends_with("outside guest memory"));
        assert_eq!(emptied(&guest.memory), [] as [u64; 0]);
    }
}

#[test]
fn hazard_an_array_of_any_length_is_read_to_a_bound_or_refused() {
    let most = 4 * MAX_PAGES as u32;
    for len in [2, 5, most + 4, 1 << 20] {
        let mut guest = guest();
        guest.rings[INFLATE].chain(&[(DATA, len, false)]);
        let why = guest.wait_broken(INFLATE);
        assert_eq!(
            why,
            format!("{len} bytes of page numbers: whole numbers of 4 bytes were expected, 4096 at most")
        );
    }
    // Many descriptors over the same bytes are one array.
    let mut guest = guest();
    guest.rings[INFLATE].chain(&vec![(DATA, 1 << 20, false); 60]);
    assert!(guest.wait_broken(INFLATE).starts_with("62914560 bytes"));
    let mut guest = self::guest();
    fill(&guest.memory);
    let every: Vec<u32> = (0x100..0x100 + MAX_PAGES as u32)
        .map(|n| 0x200 + n % 0x100)
        .collect();
    name(&mut guest, INFLATE, &every);
    guest.wait(INFLATE, 1);
    assert_eq!(emptied(&guest.memory), (0x200..0x300).collect::<Vec<_>>());
}

#[test]
fn a_request_without_pages_is_done() {
    let mut guest = guest();
    fill(&guest.memory);
    guest.rings[INFLATE].chain(&[(DATA, 0, false)]);
    // What is lent for writing holds no numbers, and what is to be read is not free.
    guest.rings[INFLATE].chain(&[(0x5_0000, 0x2000, true)]);
    guest.rings[FREE].chain(&[(0x5_0000, 0x2000, false)]);
    assert_eq!(guest.wait(INFLATE, 2).len(), 2);
    guest.wait(FREE, 1);
    assert_eq!(emptied(&guest.memory), [] as [u64; 0]);
}

#[test]
fn a_driver_that_does_not_report_has_no_queue_for_it() {
    let mut guest = Guest::start(balloon(), ALL);
    fill(&guest.memory);
    guest.rings[FREE].chain(&[(0x5_0000, 0x2000, true)]);
    guest.kick(FREE);
    name(&mut guest, INFLATE, &[40]);
    guest.wait(INFLATE, 1);
    guest.device.pause();
    assert_eq!(
        (guest.rings[FREE].completed(), emptied(&guest.memory)),
        (0, vec![40])
    );
    assert_eq!(guest.device.queues().len(), 2);
}

#[test]
fn pages_of_the_hosts_pool_stay() {
    for pages in [HugePages::Of2MiB, HugePages::Of1GiB] {
        let device = Balloon::new(END, pages, Arc::new(())).expect("device");
        let mut guest = Guest::start(device, ALL | REPORTING);
        fill(&guest.memory);
        guest.rings[FREE].chain(&[(SEAM, (END - SEAM) as u32, true)]);
        guest.wait(FREE, 1);
        name(&mut guest, INFLATE, &[40]);
        guest.wait(INFLATE, 1);
        assert_eq!(emptied(&guest.memory), [] as [u64; 0]);
    }
}

#[test]
fn a_driver_is_told_of_its_target_and_tells_how_far_it_is() {
    let mut guest = guest();
    let level = Arc::clone(guest.device.level());
    let config = |guest: &Guest<Balloon>| {
        let mut bytes = [0xff; 12];
        guest.device.read_config(0, &mut bytes);
        let (words, _) = bytes.as_chunks();
        [0, 1, 2].map(|word| u32::from_le_bytes(words[word]))
    };
    assert_eq!(config(&guest), [0, 0, 0]);
    level.aim(0x1_2fff).expect("it has so much");
    guest.interrupt.wait(|told| told.config == 1);
    assert_eq!(config(&guest), [0x12, 0, 0]);
    guest.device.write_config(ACTUAL, &0x10_u32.to_le_bytes());
    assert_eq!((config(&guest), level.actual()), ([0x12, 0x10, 0], 0x1_0000));
    // What is the host's, or no whole number, is not written.
    for (offset, len) in [
        (0, 4),
        (0, 8),
        (4, 1),
        (4, 2),
        (4, 8),
        (5, 4),
        (8, 4),
        (u64::MAX, 4),
    ] {
        guest.device.write_config(offset, &vec![0xee; len]);
        assert_eq!(config(&guest), [0x12, 0x10, 0], "{offset} {len}");
    }
    // More than there is, is asked of nobody, and believed of nobody.
    let refusal = level.aim(END + PAGE).expect_err("it has not so much");
    assert_eq!((refusal.wanted, refusal.most), (END + PAGE, END));
    assert!(level.aim(u64::MAX).is_err());
    guest.device.write_config(ACTUAL, &[0xff; 4]);
    assert_eq!((level.target(), level.actual()), (0x1_2000, END));
    // A driver that begins anew has an empty balloon, and the same target.
    guest.device.reset();
    level.aim(0x1_1000).expect("it has so much");
    assert_eq!(config(&guest), [0x11, 0, 0]);
    guest.interrupt.wait(|told| told.config == 1);
}

#[test]
fn a_saved_device_goes_on_in_a_fresh_one_with_its_target() {
    let mut guest = guest();
    fill(&guest.memory);
    guest.device.level().aim(0x2_0000).expect("it has so much");
    name(&mut guest, INFLATE, &[40]);
    guest.wait(INFLATE, 1);
    guest.device.write_config(ACTUAL, &1_u32.to_le_bytes());
    guest.device.pause();
    guest.rings[FREE].chain(&[(0x5_0000, 0x2000, true)]);
    let (state, queues) = (guest.device.state(), guest.device.queues());
    guest.device = balloon();
    guest.device.restore(&state).expect("a balloon");
    let before = emptied(&guest.memory);
    guest.activate(&queues);
    guest.interrupt.wait(|_| guest.rings[FREE].completed() == 1);
    assert_eq!((before, emptied(&guest.memory)), (vec![40], vec![40, 0x50, 0x51]));
    guest.device.pause();
    assert_eq!(guest.device.state(), state);
    // It was told before it was saved, and perhaps did not hear it.
    let told = |guest: &Guest<Balloon>| {
        let mut told = 0;
        guest.interrupt.wait(|state| {
            told = state.config;
            true
        });
        told
    };
    assert_eq!(told(&guest), 1, "one that goes on as it is, is told once");
    guest.device.resume();
    assert_eq!(told(&guest), 1);
    let driver = Arc::clone(&guest.interrupt) as Arc<dyn Interrupt>;
    guest.device.level.notice.connect(driver, Begin::Paused);
    guest.device.pause();
    guest.device.resume();
    assert_eq!(told(&guest), 2);
}

#[test]
fn a_state_that_no_machine_of_this_size_has_is_refused() {
    let mut device = balloon();
    let most = (END / PAGE) as u32;
    let state = |target, actual| DeviceState::Balloon(BalloonState { target, actual });
    assert!(device.restore(&state(most + 1, 0)).is_err());
    assert!(
        device
            .restore(&DeviceState::Rng(crate::virtio::rng::RngState {}))
            .is_err()
    );
    // A guest may say anything.
    device.restore(&state(most, u32::MAX)).expect("it may be so");
    assert_eq!((device.level().target(), device.level().actual()), (END, END));
}

#[test]
fn hazard_a_driver_with_many_requests_is_held_between_two_of_them() {
    let mut guest = guest();
    for _ in 0..QUEUE_SIZE {
        guest.rings[FREE].chain(&[(0x5_0000, 0x10_0000, true)]);
    }
    guest.kick(FREE);
    guest.device.pause();
    let done = guest.rings[FREE].completed();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(guest.rings[FREE].completed(), done, "it is held");
    guest.device.resume();
    guest
        .interrupt
        .wait(|_| guest.rings[FREE].completed() == QUEUE_SIZE);
}

/// What a hostile driver asks for.
#[derive(Clone, Debug)]
enum Request {
    /// Pages by their numbers, some of which are not there.
    Inflate(Vec<u32>),
    /// Buffers, mostly within memory and about as large as some pages.
    Report(Vec<(u64, u32, bool)>),
}

fn request() -> impl Strategy<Value = Request> {
    let number = prop_oneof![40 => 0x10..0x400_u32, 1 => any::<u32>()];
    let address = prop_oneof![20 => 0x1_0000..END, 1 => any::<u64>()];
    let len = prop_oneof![20 => 0..0x4000_u32, 4 => 0..0x10_0000_u32, 1 => any::<u32>()];
    let buffer = (address, len, prop::bool::weighted(0.9));
    prop_oneof![
        prop::collection::vec(number, 0..20).prop_map(Request::Inflate),
        prop::collection::vec(buffer, 1..5).prop_map(Request::Report),
    ]
}

impl Request {
    /// The pages that may go back for its sake, if nothing is wrong with it.
    fn names(&self, page: u64) -> bool {
        match self {
            Self::Inflate(numbers) => numbers.iter().any(|number| u64::from(*number) == page),
            Self::Report(buffers) => buffers.iter().any(|(address, len, is_writable)| {
                let end = address.saturating_add(u64::from(*len));
                *is_writable && *address <= page * PAGE && (page + 1) * PAGE <= end
            }),
        }
    }
}

/// The balloon's thread without a thread, over rings of its own.
fn task(memory: &GuestMemory) -> (BalloonTask, Vec<Ring>) {
    let features = ALL | REPORTING;
    let interrupt = Arc::new(Recorder::default());
    let rings: Vec<Ring> = (0..3)
        .map(|queue| Ring::new(memory, RINGS.start + queue * 0x4000, QUEUE_SIZE))
        .collect();
    let queues = (0..).zip(&rings);
    let activation = Activation {
        memory: memory.clone(),
        queues: queues
            .map(|(index, ring)| Some(ring.queue(index, &interrupt, features)))
            .collect(),
        kicks: Vec::new(),
        interrupt: interrupt as Arc<dyn Interrupt>,
        features,
        begin: Begin::Running,
    };
    let task = BalloonTask::new(activation, HugePages::default()).expect("it has its queues");
    (task, rings)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hazard_any_requests_leave_all_memory_as_it_is_but_what_they_name(
        requests in prop::collection::vec(request(), 1..6),
    ) {
        let memory = ring::memory();
        fill(&memory);
        let (mut task, mut rings) = task(&memory);
        let stop = Stop::new().expect("a descriptor");
        for request in &requests {
            match request {
                Request::Inflate(numbers) => {
                    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                    rings[INFLATE].write(DATA, &bytes);
                    rings[INFLATE].chain(&[(DATA, bytes.len() as u32, false)]);
                }
                Request::Report(buffers) => {
                    let mut buffers = buffers.clone();
                    buffers.sort_by_key(|(_, _, is_writable)| *is_writable);
                    rings[FREE].chain(&buffers);
                }
            }
            while task.is_busy(&stop) {}
        }
        let mut bytes = [0; PAGE as usize];
        for page in (0..END / PAGE).filter(|page| !RINGS.contains(&(page * PAGE)) && *page != DATA / PAGE) {
            memory.read_slice(&mut bytes, GuestAddress(page * PAGE)).expect("in memory");
            let is_named = requests.iter().any(|request| request.names(page));
            let is_empty = bytes == [0; PAGE as usize];
            prop_assert!(bytes == [7; PAGE as usize] || is_named && is_empty, "page {page:#x}");
        }
    }
}
