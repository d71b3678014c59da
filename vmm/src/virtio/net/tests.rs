use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::frame::{HEADER, MAX_FRAME};
use super::*;
use crate::virtio::ring::{ALL, DATA, END, Guest, Ring};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn spec(mtu: Option<u16>) -> NetSpec {
    NetSpec {
        mac: MacAddress::new(OWN).expect("an address"),
        mtu,
        socket: PathBuf::new(),
    }
}

/// A started card and the other end of its cable.
fn plugged(features: u64) -> (Guest<Net>, UnixStream) {
    let (socket, cable) = UnixStream::pair().expect("sockets");
    cable
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a socket");
    let net = Net::new(&spec(None), socket.into(), Arc::new(())).expect("device");
    (Guest::start(net, ALL | features), cable)
}

/// A frame of `len` bytes from `source`, each of them another.
fn frame(source: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|n| n as u8).collect();
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&source);
    frame
}

/// Has the guest send what a header and a frame are, both in one buffer.
fn offer(guest: &mut Guest<Net>, header: [u8; HEADER], frame: &[u8]) {
    let bytes = [&header[..], frame].concat();
    guest.rings[TRANSMIT].write(DATA, &bytes);
    guest.rings[TRANSMIT].chain(&[(DATA, bytes.len() as u32, false)]);
}

fn arrived(cable: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    cable.read_exact(&mut length).expect("a frame");
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    cable.read_exact(&mut frame).expect("all of it");
    frame
}

fn send(cable: &mut UnixStream, frame: &[u8]) {
    cable
        .write_all(&(frame.len() as u32).to_be_bytes())
        .expect("room");
    cable.write_all(frame).expect("room");
}

/// What came into buffers of `len` bytes at `at`, filled one after another as `used` says.
fn received(ring: &Ring, at: u64, len: u64, used: &[(u32, u32)]) -> Vec<u8> {
    let each = (0..).zip(used);
    each.flat_map(|(n, (_, written))| ring.read(at + n * len, *written as usize))
        .collect()
}

#[test]
fn a_frame_of_the_guest_arrives_as_it_was_sent() {
    let (mut guest, mut cable) = plugged(0);
    for (n, len) in (1..).zip([14, 60, 1514, 9014, MAX_FRAME]) {
        let frame = frame(OWN, len);
        offer(&mut guest, [0; HEADER], &frame);
        assert_eq!(guest.wait(TRANSMIT, n)[0].1, 0);
        assert_eq!(arrived(&mut cable), frame);
    }
    // In pieces that end anywhere.
    let frame = frame(OWN, 100);
    let bytes = [&[0; HEADER][..], &frame].concat();
    guest.rings[TRANSMIT].write(DATA, &bytes);
    guest.rings[TRANSMIT].chain(&[
        (DATA, 5, false),
        (DATA + 5, 0, false),
        (DATA + 5, 20, false),
        (DATA + 25, 87, false),
    ]);
    guest.wait(TRANSMIT, 6);
    assert_eq!(arrived(&mut cable), frame);
}

#[test]
fn hazard_a_frame_with_anothers_address_or_wishes_or_no_length_of_a_frame_is_dropped() {
    let (mut guest, mut cable) = plugged(0);
    let mut wishes = [0; HEADER];
    wishes[0] = 1;
    let mut segments = [0; HEADER];
    segments[1] = 1;
    let other = [2, 0, 0, 0, 0, 2];
    for (header, frame) in [
        ([0; HEADER], frame(other, 60)),
        ([0; HEADER], frame([0xff; 6], 60)),
        (wishes, frame(OWN, 60)),
        (segments, frame(OWN, 60)),
        ([0; HEADER], frame(OWN, 13)),
        ([0; HEADER], frame(OWN, MAX_FRAME + 1)),
        ([0; HEADER], Vec::new()),
        ([0; HEADER], frame(OWN, 61)),
    ] {
        offer(&mut guest, header, &frame);
        guest.kick(TRANSMIT);
        let ring = &guest.rings[TRANSMIT];
        guest.interrupt.wait(|_| ring.is_done());
    }
    assert_eq!(arrived(&mut cable), frame(OWN, 61), "none of the others came");
}

#[test]
fn a_frame_for_the_guest_fills_as_many_buffers_as_it_takes() {
    let (mut guest, mut cable) = plugged(MRG_RXBUF);
    for n in 0..4 {
        guest.rings[RECEIVE].chain(&[(DATA + n * 100, 100, true)]);
    }
    let frame = frame([2, 0, 0, 0, 0, 9], 300);
    send(&mut cable, &frame);
    let used = guest.wait(RECEIVE, 4);
    assert_eq!(
        used.iter().map(|(_, len)| *len).collect::<Vec<_>>(),
        [100, 100, 100, 12]
    );
    let bytes = received(&guest.rings[RECEIVE], DATA, 100, &used);
    assert_eq!(bytes[..HEADER], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    assert_eq!(bytes[HEADER..], frame);
    assert!(guest.interrupt.used() > 0);
}

#[test]
fn a_frame_waits_for_buffers_and_one_that_fits_none_is_dropped() {
    let (mut guest, mut cable) = plugged(0);
    // Without merging, the first buffer must have the room for all of it.
    let (large, small) = (frame([2; 6], 200), frame([2; 6], 60));
    send(&mut cable, &large);
    send(&mut cable, &small);
    guest.rings[RECEIVE].chain(&[(DATA, 100, true)]);
    let used = guest.wait(RECEIVE, 1);
    assert_eq!(used, [(0, 72)]);
    assert_eq!(guest.rings[RECEIVE].read(DATA + HEADER as u64, 60), small);
    let (mut guest, mut cable) = plugged(MRG_RXBUF);
    send(&mut cable, &large);
    guest.rings[RECEIVE].chain(&[(DATA, 100, true)]);
    guest.kick(RECEIVE);
    offer(&mut guest, [0; HEADER], &frame(OWN, 60));
    guest.wait(TRANSMIT, 1);
    assert_eq!(guest.rings[RECEIVE].completed(), 0, "half of a frame is none");
    for n in 1..3 {
        guest.rings[RECEIVE].chain(&[(DATA + 0x1000 * n, 100, true)]);
    }
    assert_eq!(guest.wait(RECEIVE, 3).len(), 3);
}

#[test]
fn hazard_the_guest_is_told_of_a_frame_whose_last_buffer_it_waits_for() {
    // Of four entries it waits for the second: only what is told of the batch's end shows it.
    let (mut guest, mut cable) = plugged(MRG_RXBUF);
    let used_event = guest.rings[RECEIVE].state().available + 4 + 2 * u64::from(QUEUE_SIZE);
    guest
        .memory
        .write_obj(1_u16, GuestAddress(used_event))
        .expect("in memory");
    for n in 0..4 {
        guest.rings[RECEIVE].chain(&[(DATA + n * 100, 100, true)]);
    }
    send(&mut cable, &frame([2; 6], 300));
    guest.kick(RECEIVE);
    guest.interrupt.wait(|state| state.used > 0);
}

#[test]
fn hazard_an_other_side_that_goes_or_talks_nonsense_takes_the_link_down_and_harms_nobody() {
    for nonsense in [None, Some(0_u32), Some(MAX_FRAME as u32 + 1), Some(u32::MAX)] {
        let (mut guest, mut cable) = plugged(MRG_RXBUF);
        match nonsense {
            None => drop(cable),
            Some(length) => cable.write_all(&length.to_be_bytes()).expect("room"),
        }
        guest.interrupt.wait(|state| state.config == 1);
        let mut status = [0xff; 2];
        guest.device.read_config(6, &mut status);
        assert_eq!(status, [0, 0], "the link is down");
        // The driver may go on sending: it goes nowhere.
        offer(&mut guest, [0; HEADER], &frame(OWN, 60));
        guest.wait(TRANSMIT, 1);
        guest.device.reset();
        assert_eq!(guest.interrupt.broken(), [""; 0]);
    }
}

#[test]
fn hazard_an_other_side_that_does_not_read_holds_the_guest_back_and_loses_nothing() {
    let (mut guest, mut cable) = plugged(0);
    let frame = frame(OWN, 60_000);
    guest.rings[TRANSMIT].write(DATA, &[&[0; HEADER][..], &frame].concat());
    let count = 100;
    for _ in 0..count {
        guest.rings[TRANSMIT].chain(&[(DATA, (HEADER + frame.len()) as u32, false)]);
    }
    guest.wait(TRANSMIT, 1);
    guest.device.pause();
    let before = guest.rings[TRANSMIT].completed();
    assert!(before < count, "six million bytes lie nowhere");
    guest.device.resume();
    let reader = std::thread::spawn(move || {
        for _ in 0..count {
            assert_eq!(arrived(&mut cable), frame);
        }
        cable
    });
    guest.wait(TRANSMIT, count);
    let _cable = reader.join().expect("all came");
}

#[test]
fn hazard_buffers_outside_memory_break_their_queue_alone() {
    let (mut guest, mut cable) = plugged(MRG_RXBUF);
    guest.rings[RECEIVE].chain(&[(END - 10, 100, true)]);
    send(&mut cable, &frame([2; 6], 60));
    assert!(guest.wait_broken(RECEIVE).contains("outside guest memory"));
    offer(&mut guest, [0; HEADER], &frame(OWN, 60));
    guest.wait(TRANSMIT, 1);
    assert_eq!(arrived(&mut cable).len(), 60);
    let (mut guest, _cable) = plugged(0);
    guest.rings[TRANSMIT].chain(&[(END - 10, 100, false)]);
    assert!(guest.wait_broken(TRANSMIT).contains("outside guest memory"));
}

#[test]
fn the_card_tells_its_address_its_mtu_and_that_the_link_is_up() {
    let (socket, _cable) = UnixStream::pair().expect("sockets");
    let net = Net::new(&spec(Some(1400)), socket.into(), Arc::new(())).expect("device");
    assert_eq!(net.features(), MAC | STATUS | MRG_RXBUF | MTU);
    let mut config = [0xff; 16];
    net.read_config(0, &mut config);
    assert_eq!(config[..6], OWN);
    assert_eq!(config[6..], [1, 0, 1, 0, 0x78, 5, 0, 0, 0, 0]);
}

#[test]
fn a_card_that_was_saved_goes_on_and_its_driver_looks_at_the_link() {
    let (mut guest, mut cable) = plugged(MRG_RXBUF);
    offer(&mut guest, [0; HEADER], &frame(OWN, 60));
    guest.wait(TRANSMIT, 1);
    guest.device.pause();
    let queues = guest.device.queues();
    assert_eq!(queues.len(), 2);
    let state = guest.device.state();
    guest.device.reset();
    guest.device.restore(&state).expect("its own");
    let other = DeviceState::Rng(crate::virtio::rng::RngState::default());
    assert!(guest.device.restore(&other).is_err());
    guest.activate(&queues);
    offer(&mut guest, [0; HEADER], &frame(OWN, 61));
    guest.wait(TRANSMIT, 2);
    assert_eq!((arrived(&mut cable).len(), arrived(&mut cable).len()), (60, 61));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn frames_of_any_length_come_through_in_their_order(
        lens in prop::collection::vec(14..3000_usize, 1..20),
        buffer in 100..2000_u64,
    ) {
        let (mut guest, mut cable) = plugged(MRG_RXBUF);
        let count = QUEUE_SIZE - 1;
        for n in 0..count {
            guest.rings[RECEIVE].chain(&[(DATA + u64::from(n) * buffer, buffer as u32, true)]);
        }
        guest.kick(RECEIVE);
        let frames: Vec<_> = lens.iter().map(|len| frame([4; 6], *len)).collect();
        let fits = |total: &mut usize, len: &usize| {
            *total += (len + HEADER).div_ceil(buffer as usize);
            (*total <= usize::from(count)).then_some(())
        };
        let sent = lens.iter().scan(0, fits).count();
        frames[..sent].iter().for_each(|frame| send(&mut cable, frame));
        let buffers: usize = lens[..sent].iter().map(|len| (len + HEADER).div_ceil(buffer as usize)).sum();
        let used = guest.wait(RECEIVE, buffers as u16);
        let mut at = 0;
        for frame in &frames[..sent] {
            let own = (frame.len() + HEADER).div_ceil(buffer as usize);
            let start = DATA + at as u64 * buffer;
            let bytes = received(&guest.rings[RECEIVE], start, buffer, &used[at..at + own]);
            prop_assert_eq!(usize::from(u16::from_le_bytes([bytes[10], bytes[11]])), own);
            prop_assert_eq!(&bytes[HEADER..], &frame[..]);
            at += own;
        }
    }
}
