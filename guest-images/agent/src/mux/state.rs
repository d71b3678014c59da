//! What the mux knows, without any I/O: bytes of the guest go in, bytes for it and for the
//! connections come out.

use super::channel::{Channel, Owner, Violation};
use crate::decoder::{Decoder, Event};
use crate::frame::{Frame, Kind, MAX_CHANNEL, RESYNC, encode, encode_message};
use crate::message::{Assembler, Greeting, PROTOCOL, Reply};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Bytes that may wait for the guest before connections are no longer read. Bounds memory while
/// the guest does not take them.
const MOST_TO_GUEST: usize = 128 * 1024;
/// Channels at once; more connections are refused. Bounds memory and the thread's work.
const MOST_CHANNELS: usize = 128;
/// First and longest pause between two greetings of an agent that does not answer.
const GREETING_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

#[derive(Debug)]
pub(super) struct State {
    port: Decoder,
    to_guest: Vec<u8>,
    epoch: u64,
    agent: Option<Greeting>,
    greet_at: Instant,
    pause: Duration,
    channels: BTreeMap<u16, Channel>,
    last: u16,
    ended: bool,
}

impl State {
    pub(super) fn new(epoch: u64) -> State {
        State {
            port: Decoder::hunting(),
            to_guest: Vec::new(),
            epoch,
            agent: None,
            greet_at: Instant::now(),
            pause: GREETING_PAUSE.0,
            channels: BTreeMap::new(),
            last: 0,
            ended: false,
        }
    }

    /// The agent's greeting, while it answers.
    pub(super) fn agent(&self) -> Option<&Greeting> {
        self.agent.as_ref()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The stream or the mux is over.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.lose_agent();
    }

    /// The guest began anew, or closed its end: nothing that was under way counts any more.
    pub(super) fn reset(&mut self) {
        self.port = Decoder::hunting();
        self.to_guest.clear();
        self.epoch = self.epoch.wrapping_add(1).max(1);
        self.lose_agent();
    }

    fn lose_agent(&mut self) {
        self.agent = None;
        self.greet_at = Instant::now();
        self.pause = GREETING_PAUSE.0;
        // Those that the agent never heard of go on waiting for one.
        self.channels
            .values_mut()
            .filter(|channel| channel.used)
            .for_each(Channel::abandon);
    }

    /// Greets an agent that has not answered, when it is time; says when to come back.
    pub(super) fn greet(&mut self, now: Instant) -> Option<Duration> {
        if self.agent.is_some() || self.ended {
            return None;
        }
        if !self.to_guest.is_empty() {
            return Some(GREETING_PAUSE.1); // until the guest takes it, a repetition says no more
        }
        if now >= self.greet_at {
            self.to_guest.extend_from_slice(&RESYNC);
            let greeting = Greeting {
                version: PROTOCOL,
                epoch: self.epoch,
                session: 0,
            };
            // Three numbers are never too long for a message.
            let _ = encode_message(&mut self.to_guest, 0, Kind::Hello, &greeting);
            self.greet_at = now + self.pause;
            self.pause = (self.pause * 2).min(GREETING_PAUSE.1);
        }
        Some(
            self.greet_at
                .saturating_duration_since(now)
                .max(Duration::from_millis(10)),
        )
    }

    /// Bytes that came from the guest's port.
    pub(super) fn heard(&mut self, bytes: &[u8]) {
        // In pieces, so that a large push does not hold the buffer's double.
        for piece in bytes.chunks(64 * 1024) {
            self.port.push(piece);
            while let Some(event) = self.port.next() {
                if let Event::Frame(frame) = event {
                    self.guest_frame(&frame);
                }
            }
        }
    }

    fn guest_frame(&mut self, frame: &Frame) {
        if frame.channel == 0 {
            if frame.kind == Kind::Hello
                && let Ok(greeting) = serde_json::from_slice::<Greeting>(&frame.payload)
            {
                self.guest_greeting(greeting);
            }
            return;
        }
        let Some(channel) = self
            .channels
            .get_mut(&frame.channel)
            .filter(|channel| channel.used)
        else {
            return; // of a connection that has ended meanwhile
        };
        if channel.guest_frame(frame).is_err() {
            channel.abandon();
            encode(&mut self.to_guest, frame.channel, Kind::Close, &[]);
        }
    }

    fn guest_greeting(&mut self, greeting: Greeting) {
        let known = self
            .agent
            .as_ref()
            .is_some_and(|agent| agent.session == greeting.session);
        if greeting.epoch == self.epoch {
            if !known {
                self.lose_agent();
            }
            self.agent = Some(greeting);
        } else if !known {
            // An agent that has just started, or the answer to an earlier host.
            self.lose_agent();
        }
    }

    /// A channel for a new connection or call; none if there are too many.
    pub(super) fn open(&mut self, owner: Owner) -> Option<u16> {
        if self.channels.len() >= MOST_CHANNELS || self.ended {
            return None;
        }
        // Counting on, so that what the guest still says on a closed channel meets no new one.
        loop {
            self.last = if self.last >= MAX_CHANNEL {
                1
            } else {
                self.last + 1
            };
            if !self.channels.contains_key(&self.last) {
                self.channels.insert(self.last, Channel::new(owner));
                return Some(self.last);
            }
        }
    }

    pub(super) fn open_call(&mut self) -> Option<u16> {
        self.open(Owner::Call {
            parts: Assembler::default(),
            answer: None,
        })
    }

    /// The owner is gone or has what it wanted; `Told` if the guest shall end what runs there.
    pub(super) fn close(&mut self, id: u16, guest: CloseGuest) {
        if let Some(channel) = self.channels.remove(&id)
            && channel.used
            && guest == CloseGuest::Told
        {
            encode(&mut self.to_guest, id, Kind::Close, &[]);
        }
    }

    /// Whether connections may be read now.
    pub(super) fn takes_input(&self) -> bool {
        self.agent.is_some() && self.to_guest.len() < MOST_TO_GUEST
    }

    /// A frame of a connection (or call).
    pub(super) fn owner_frame(&mut self, id: u16, frame: &Frame) -> Result<(), Violation> {
        match self.channels.get_mut(&id) {
            Some(channel) if !channel.over => channel.owner_frame(id, frame, &mut self.to_guest),
            _ => Ok(()),
        }
    }

    pub(super) fn answer(&mut self, id: u16) -> Answer {
        match self.channels.get_mut(&id) {
            Some(Channel {
                owner: Owner::Call { answer, .. },
                over,
                ..
            }) => match answer.take() {
                Some(reply) => Answer::Reply(reply),
                None if *over => Answer::Never,
                None => Answer::NotYet,
            },
            _ => Answer::Never,
        }
    }

    /// What waits for the guest, and the way to say how much of it was taken.
    pub(super) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.to_guest
    }

    /// What waits for a connection, and whether it ends after that.
    pub(super) fn waiting(&self, id: u16) -> (&[u8], bool) {
        self.channels
            .get(&id)
            .map_or((&[], true), |channel| (channel.waiting(), channel.over))
    }

    /// So much of what waited for a connection was written to it.
    pub(super) fn wrote(&mut self, id: u16, bytes: usize) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.wrote(bytes);
        }
    }
}

/// Whether the guest hears of a channel's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseGuest {
    Told,
    NotTold,
}

/// Of an internal call.
#[derive(Debug)]
pub(super) enum Answer {
    Reply(Reply),
    NotYet,
    Never,
}
