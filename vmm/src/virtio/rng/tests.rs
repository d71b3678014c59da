use kiln_tests::bounded;

use super::*;
use crate::virtio::ring::{ALL, DATA, END, Guest, cpu_time_of};

fn guest(rate: Option<u32>) -> Guest<Rng> {
    let spec = RngSpec {
        rate: rate.and_then(NonZeroU32::new),
    };
    Guest::start(Rng::new(&spec, Arc::new(())).expect("device"), ALL)
}

#[test]
fn buffers_are_filled_with_bytes_that_differ() {
    let mut guest = guest(None);
    guest.rings[0].chain(&[(DATA, 64, true)]);
    guest.rings[0].chain(&[(DATA + 64, 30, true), (DATA + 94, 34, true)]);
    assert_eq!(guest.wait(0, 2), [(0, 64), (1, 64)]);
    let bytes = guest.rings[0].read(DATA, 128);
    assert_ne!(bytes[..64], bytes[64..]);
    assert!(bytes.chunks(16).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
}

#[test]
fn hazard_a_request_gives_a_page_however_large_its_buffer() {
    let name = "virtio::rng::tests::hazard_a_request_gives_a_page_however_large_its_buffer";
    bounded(name, 2 << 20, |turn| {
        let mut guest = guest(None);
        let buffers = vec![(DATA, 1 << 20, true); 60];
        guest.rings[0].chain(&buffers);
        turn.next(format_args!("60 MiB"));
        assert_eq!(guest.wait(0, 1), [(0, 4096)]);
    });
}

#[test]
fn hazard_a_guest_that_asks_without_end_is_held_to_the_rate() {
    let mut guest = guest(Some(10_000));
    for _ in 0..10 {
        guest.rings[0].chain(&[(DATA, 4096, true)]);
    }
    let started = Instant::now();
    let before = cpu_time_of("virtio-rng");
    guest.kick(0);
    let mut bytes = 0;
    let mut collect = |guest: &mut Guest<Rng>| -> u128 {
        bytes += guest.rings[0]
            .used()
            .iter()
            .map(|(_, len)| u128::from(*len))
            .sum::<u128>();
        bytes
    };
    // A second's worth is given at once: a busy host has not given it yet.
    while collect(&mut guest) < 8_000 || started.elapsed() < Duration::from_millis(500) {
        assert!(started.elapsed() < Duration::from_secs(60), "it gives nothing");
        guest.kick(0);
        std::thread::sleep(Duration::from_millis(1));
    }
    let spent = cpu_time_of("virtio-rng").saturating_sub(before);
    assert!(spent <= started.elapsed() / 5, "{spent:?}");
    let bytes = collect(&mut guest);
    let most = 10_000 + 10 * started.elapsed().as_millis() + 4096;
    assert!(bytes <= most, "{bytes} of {most}");
}

#[test]
fn hazard_a_buffer_outside_memory_needs_a_reset() {
    let mut guest = guest(None);
    guest.rings[0].chain(&[(END - 8, 16, true)]);
    assert_eq!(
        guest.wait_broken(0),
        "buffer of 16 bytes at 0x3ffff8 outside guest memory"
    );
    assert_eq!(
        guest.rings[0].read(END - 8, 8),
        [0; 8],
        "nothing of it was written"
    );
}

#[test]
fn a_saved_device_goes_on_in_a_fresh_one() {
    let mut guest = guest(None);
    guest.rings[0].chain(&[(DATA, 8, true)]);
    guest.wait(0, 1);
    guest.device.pause();
    guest.rings[0].chain(&[(DATA, 8, true)]);
    let (state, queues) = (guest.device.state(), guest.device.queues());
    guest.device = Rng::new(&RngSpec::default(), Arc::new(())).expect("device");
    guest.device.restore(&state).expect("an entropy device");
    guest.activate(&queues);
    assert_eq!(guest.wait(0, 2), [(1, 8)]);
}
