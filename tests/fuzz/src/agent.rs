//! The agent's stream: frames, messages, both ends that hear a guest, and files that a guest sends.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use kiln_agent::client::{Agent, ExecRequest};
use kiln_agent::decoder::{Decoder, Event};
use kiln_agent::frame::{MAX_MESSAGE, MAX_PAYLOAD, RESYNC};
use kiln_agent::message::{Assembler, Exit, Greeting, Reply, Request, Signal, Size};
use kiln_agent::tree;

/// Frames in any cuts (the first byte says how long the pieces are), and every message that they could carry. Whether
/// one of them was understood.
pub fn frames(input: &[u8]) -> bool {
    let Some((cut, bytes)) = input.split_first() else {
        return false;
    };
    let mut decoder = Decoder::hunting();
    decoder.push(&RESYNC);
    let mut message = Assembler::default();
    let mut understood = false;
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        decoder.push(piece);
        while let Some(event) = decoder.next() {
            let Event::Frame(frame) = event else { continue };
            assert!(frame.payload.len() <= MAX_PAYLOAD);
            let whole = message.take::<serde_json::Value>(&frame);
            if let Ok(Some(value)) = whole {
                assert!(value.to_string().len() <= 8 * MAX_MESSAGE);
                understood |= serde_json::from_value::<Request>(value.clone()).is_ok();
                understood |= serde_json::from_value::<Reply>(value.clone()).is_ok();
                understood |= serde_json::from_value::<Exit>(value.clone()).is_ok();
                understood |= serde_json::from_value::<Greeting>(value.clone()).is_ok();
                understood |= serde_json::from_value::<Signal>(value.clone()).is_ok();
                understood |= serde_json::from_value::<Size>(value).is_ok();
            }
        }
        assert!(
            decoder.held() <= MAX_PAYLOAD + 1024,
            "the decoder holds {}",
            decoder.held()
        );
    }
    understood
}

/// What a guest writes to its port, heard by the host's multiplexer; all of it may be said.
pub fn mux(input: &[u8]) -> bool {
    kiln_agent::mux::hear(input);
    true
}

/// What a client of the agent hears as the answers to a request and to a command. Whether the request was answered.
pub fn client(input: &[u8]) -> bool {
    let hear = || {
        let (near, mut far) = UnixStream::pair().expect("sockets can be had");
        // More than a socket holds would wait for a reader.
        let _ = far.write_all(input.get(..64 << 10).unwrap_or(input));
        let _ = far.shutdown(std::net::Shutdown::Write);
        (Agent::connect(near), far)
    };
    let patience = Duration::from_secs(5);
    let (mut agent, _far) = hear();
    let answered = agent.hello(patience).is_ok();
    let (agent, _far) = hear();
    let ended = agent
        .exec(ExecRequest::default())
        .map(|session| session.capture(b"input", patience));
    answered | matches!(ended, Ok(Ok(_)))
}

/// Files that a guest sends, unpacked beside a file that is none of its business. Whether all of them came.
pub fn tree(input: &[u8]) -> bool {
    // Nothing of it is worth a disk.
    let memory = std::path::Path::new("/dev/shm");
    let folder = tempfile::Builder::new();
    let place = if memory.is_dir() {
        folder.tempdir_in(memory)
    } else {
        folder.tempdir()
    };
    let place = place.expect("a temporary folder");
    let beside = place.path().join("beside");
    std::fs::write(&beside, "own").expect("room");
    let came = tree::unpack(input, &place.path().join("to"), |_| ());
    assert_eq!(std::fs::read(&beside).expect("it is there"), b"own");
    let names = std::fs::read_dir(place.path()).expect("it is there").count();
    assert!(names <= 2, "something was made beside it");
    came.is_ok()
}
