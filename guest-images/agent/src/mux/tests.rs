use super::channel::{Channel, Owner};
use super::state::{CloseGuest, State};
use crate::decoder::{Decoder, Event};
use crate::frame::{Frame, Kind, RESYNC, encode, encode_message};
use crate::message::{Greeting, PROTOCOL};
use crate::window::WINDOW;
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn connection() -> Owner {
    Owner::Connection {
        waiting: Vec::new(),
        written: 0,
    }
}

fn greeting(epoch: u64, session: u64) -> Vec<u8> {
    let mut bytes = Vec::from(RESYNC);
    encode_message(
        &mut bytes,
        0,
        Kind::Hello,
        &Greeting {
            version: PROTOCOL,
            epoch,
            session,
        },
    )
    .unwrap();
    bytes
}

fn frame(kind: Kind, payload: &[u8]) -> Frame {
    Frame {
        channel: 0,
        kind,
        flags: 0,
        payload: payload.to_vec(),
    }
}

fn data(channel: u16, kind: Kind, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, channel, kind, &vec![0; length]);
    bytes
}

/// A state whose agent has answered, and a channel in use.
fn in_use() -> (State, u16) {
    let mut state = State::new(7);
    state.heard(&greeting(7, 1));
    let id = state.open(connection()).unwrap();
    state.owner_frame(id, &frame(Kind::Request, b"{}")).unwrap();
    (state, id)
}

#[test]
fn the_host_greets_until_it_is_answered_but_not_faster_than_the_guest_reads() {
    let mut state = State::new(7);
    let start = Instant::now();
    assert!(state.greet(start).is_some());
    let first = state.outgoing().len();
    state.greet(start + Duration::from_secs(5));
    assert_eq!(state.outgoing().len(), first, "it was not taken yet");
    state.outgoing().clear();
    state.greet(start + Duration::from_secs(5));
    assert_eq!(state.outgoing().len(), first);
    state.heard(&greeting(7, 1));
    assert!(state.greet(start + Duration::from_secs(9)).is_none());
}

#[test]
fn an_answer_to_an_earlier_host_is_no_answer() {
    let mut state = State::new(7);
    state.heard(&greeting(6, 1));
    assert!(state.agent().is_none() && !state.takes_input());
    state.heard(&greeting(7, 1));
    assert!(state.takes_input());
}

#[test]
fn a_guest_that_sends_more_than_was_granted_loses_the_channel() {
    let (mut state, id) = in_use();
    for _ in 0..WINDOW / 16384 + 1 {
        state.heard(&data(id, Kind::Stdout, 16384));
    }
    assert!(state.waiting(id).1, "closed");
    assert!(state.waiting(id).0.len() <= WINDOW as usize + 64);
}

#[test]
fn a_guest_that_floods_messages_loses_the_channel() {
    let (mut state, id) = in_use();
    for _ in 0..1000 {
        state.heard(&data(id, Kind::Reply, 32768));
    }
    assert!(state.waiting(id).1, "closed");
    assert!(state.waiting(id).0.len() <= 3 * WINDOW as usize);
}

#[test]
fn a_client_that_sends_more_than_was_granted_is_refused() {
    let (mut state, id) = in_use();
    let mut sent = 0;
    while state.owner_frame(id, &frame(Kind::Stdin, &[0; 8192])).is_ok() {
        sent += 8192;
        assert!(sent <= WINDOW);
    }
    assert!(
        state
            .owner_frame(id, &frame(Kind::Credit, &1u32.to_le_bytes()))
            .is_err(),
        "nothing to grant"
    );
    assert!(
        state.owner_frame(id, &frame(Kind::Stdout, b"x")).is_err(),
        "not the client's to say"
    );
}

#[test]
fn the_end_of_a_connection_reaches_the_guest_once_it_was_used() {
    let (mut state, id) = in_use();
    state.outgoing().clear();
    state.close(id, CloseGuest::Told);
    let mut frames = Decoder::in_step();
    frames.push(state.outgoing());
    let close = Frame {
        channel: id,
        kind: Kind::Close,
        flags: 0,
        payload: Vec::new(),
    };
    assert_eq!(frames.next(), Some(Event::Frame(close)));
    let unused = state.open(connection()).unwrap();
    assert_ne!(unused, id, "numbers are not taken again at once");
    state.outgoing().clear();
    state.close(unused, CloseGuest::Told);
    assert!(state.outgoing().is_empty());
}

#[test]
fn connections_are_bounded() {
    let mut state = State::new(7);
    let opened = std::iter::from_fn(|| state.open(connection())).take(1000).count();
    assert_eq!(opened, 128);
}

#[test]
fn what_waits_is_kept_in_order_over_partial_writes() {
    let mut channel = Channel::new(connection());
    channel.used = true;
    let mut expected = Vec::new();
    for n in 0..100u8 {
        let frame = frame(Kind::Stdout, &[n; 1000]);
        channel.guest_frame(&frame).unwrap();
        encode(&mut expected, 0, Kind::Stdout, &frame.payload);
    }
    let mut written = Vec::new();
    while !channel.waiting().is_empty() {
        let piece = channel.waiting()[..channel.waiting().len().min(777)].to_vec();
        channel.wrote(piece.len());
        written.extend(piece);
    }
    assert!(written == expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A hostile guest: whatever it writes, the host neither panics nor keeps it.
    #[test]
    fn any_bytes_of_the_guest_are_taken_in_bounded_memory(
        frames in proptest::collection::vec(
            (0u16..4, 0u8..15, 0u8..3, proptest::collection::vec(any::<u8>(), 0..5000)), 0..200),
        garbage in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let (mut state, id) = in_use();
        state.outgoing().clear();
        let mut bytes = Vec::new();
        for (channel, kind, flags, payload) in frames {
            bytes.extend_from_slice(&channel.to_le_bytes());
            bytes.extend_from_slice(&[kind, flags]);
            bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(&payload);
        }
        bytes.extend_from_slice(&garbage);
        state.heard(&bytes);
        prop_assert!(state.waiting(id).0.len() <= 3 * WINDOW as usize);
        prop_assert!(state.outgoing().len() <= 64);
        state.heard(&greeting(7, 1));
        prop_assert!(state.agent().is_some(), "it is heard again");
    }
}
