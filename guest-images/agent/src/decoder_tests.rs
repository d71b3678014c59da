use super::*;
use crate::frame::{Kind, MAX_PAYLOAD, encode, encode_data};
use proptest::prelude::*;

fn all(decoder: &mut Decoder) -> Vec<Event> {
    std::iter::from_fn(|| decoder.next()).collect()
}

fn frame(channel: u16, kind: Kind, payload: &[u8]) -> Event {
    Event::Frame(Frame {
        channel,
        kind,
        flags: 0,
        payload: payload.to_vec(),
    })
}

#[test]
fn frames_come_out_as_they_went_in_whatever_the_cuts() {
    let mut bytes = Vec::new();
    encode(&mut bytes, 1, Kind::Stdout, b"hello");
    encode(&mut bytes, 2, Kind::StdinEof, b"");
    encode(&mut bytes, 0x7fff, Kind::Stderr, &[7; MAX_PAYLOAD]);
    for cut in [1, 3, 8, 13, 4096] {
        let mut decoder = Decoder::in_step();
        let mut found = Vec::new();
        for piece in bytes.chunks(cut) {
            decoder.push(piece);
            found.extend(all(&mut decoder));
        }
        let big = frame(0x7fff, Kind::Stderr, &[7; MAX_PAYLOAD]);
        assert_eq!(
            found,
            [
                frame(1, Kind::Stdout, b"hello"),
                frame(2, Kind::StdinEof, b""),
                big
            ]
        );
    }
}

#[test]
fn nothing_is_heard_before_the_marker() {
    let mut decoder = Decoder::hunting();
    let mut bytes = Vec::new();
    encode(&mut bytes, 1, Kind::Stdout, b"stale");
    bytes.extend_from_slice(&RESYNC);
    encode(&mut bytes, 1, Kind::Stdout, b"fresh");
    decoder.push(&bytes);
    assert_eq!(
        all(&mut decoder),
        [Event::Resync, frame(1, Kind::Stdout, b"fresh")]
    );
}

#[test]
fn a_marker_inside_an_unfinished_payload_restarts_the_parser() {
    // The payload ends within the marker, before it, or far behind it.
    for missing in [5usize, 16, 20, 9000] {
        let mut bytes = Vec::new();
        encode(&mut bytes, 3, Kind::Stdin, &vec![1; 10_000]);
        bytes.truncate(bytes.len() - missing);
        bytes.extend_from_slice(&RESYNC);
        encode(&mut bytes, 4, Kind::Stdin, b"new");
        for cut in [1, 7, 100_000] {
            let mut decoder = Decoder::in_step();
            let mut found = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                found.extend(all(&mut decoder));
            }
            let tail = found.split_off(found.len() - 2);
            assert_eq!(
                tail,
                [Event::Resync, frame(4, Kind::Stdin, b"new")],
                "missing {missing}, cut {cut}"
            );
        }
    }
}

#[test]
fn impossible_headers_lose_the_step_until_the_next_marker() {
    let headers: [[u8; 8]; 4] = [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 0, 99, 0, 0, 0, 0, 0],
        [1, 0, 5, 0, 1, 0x80, 0, 0],
        [0, 0x80, 5, 0, 0, 0, 0, 0],
    ];
    for header in headers {
        let mut decoder = Decoder::in_step();
        decoder.push(&header);
        assert_eq!(decoder.next(), None);
        assert!(!decoder.is_in_step());
        decoder.push(&RESYNC);
        assert_eq!(decoder.next(), Some(Event::Resync));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_cuts_are_parsed_in_bounded_memory(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..20),
        with_markers in any::<bool>(),
    ) {
        let mut decoder = Decoder::hunting();
        for piece in pieces {
            decoder.push(&piece);
            if with_markers {
                decoder.push(&RESYNC);
            }
            while decoder.next().is_some() {}
            prop_assert!(decoder.held() <= 40_000, "a frame and two pushes");
        }
        decoder.push(&RESYNC);
        let mut last = None;
        while let Some(event) = decoder.next() { last = Some(event) }
        prop_assert_eq!(last, Some(Event::Resync));
    }

    #[test]
    fn data_of_pieces_of_the_marker_arrives_whole_and_never_resyncs(
        cuts in proptest::collection::vec((0usize..16, 1usize..17), 1..200),
        joint in 1usize..9000,
    ) {
        let data: Vec<u8> = cuts.iter()
            .flat_map(|(from, length)| RESYNC[*from..].iter().copied().take(*length))
            .collect();
        let mut bytes = Vec::new();
        for part in data.chunks(joint) {
            encode_data(&mut bytes, 0xe5, Kind::Stdin, part);
        }
        prop_assert!(memchr::memmem::find(&bytes, &RESYNC).is_none());
        let mut decoder = Decoder::in_step();
        decoder.push(&bytes);
        let mut back = Vec::new();
        while let Some(event) = decoder.next() {
            let Event::Frame(frame) = event else { panic!("a resync out of data") };
            back.extend_from_slice(&frame.payload);
        }
        prop_assert_eq!(back, data);
    }
}
