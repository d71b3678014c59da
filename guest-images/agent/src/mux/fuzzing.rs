//! The way in for the fuzz target: what a hostile guest writes to its port.

use super::channel::Owner;
use super::state::{Answer, State};
use crate::frame::{Frame, Kind, encode_message};
use crate::message::{Greeting, PROTOCOL, Request};
use crate::window::WINDOW;

/// Lets a host whose agent has answered hear `bytes`, while a connection (channel 1) and a call (channel 2) are
/// under way. Panics if it then holds more than its limits allow, or does not hear its agent again.
pub fn hear(bytes: &[u8]) {
    let mut state = State::new(1);
    let mut greeting = Vec::from(crate::frame::RESYNC);
    let hello = Greeting {
        version: PROTOCOL,
        epoch: 1,
        session: 1,
    };
    // Three numbers are never too long for a message.
    let _ = encode_message(&mut greeting, 0, Kind::Hello, &hello);
    state.heard(&greeting);
    let connection = Owner::Connection {
        waiting: Vec::new(),
        written: 0,
    };
    let ids: Vec<u16> = [state.open(connection), state.open_call()]
        .into_iter()
        .flatten()
        .collect();
    for id in &ids {
        let payload = serde_json::to_vec(&Request::Hello).unwrap_or_default();
        let request = Frame {
            channel: 0,
            kind: Kind::Request,
            flags: 0,
            payload,
        };
        let _ = state.owner_frame(*id, &request);
    }
    state.outgoing().clear();
    state.heard(bytes);
    for id in ids {
        assert!(
            state.waiting(id).0.len() <= 3 * WINDOW as usize,
            "too much waits for a client"
        );
        let _: Answer = state.answer(id);
    }
    assert!(state.outgoing().len() <= 64, "too much waits for the guest");
    state.heard(&greeting);
    assert!(state.agent().is_some(), "the agent is not heard again");
}
