//! What the mux knows of one channel: its owner, its credit, what waits for its owner.

use crate::frame::{Frame, Kind, MessageError, credit_of, encode, encode_flagged};
use crate::message::{Assembler, Reply};
use crate::window::{SendWindow, WINDOW};

/// Bytes that may wait for a connection: two windows, that is all the data that credit allows and
/// as much again for messages. Stops a guest that floods replies at a client that does not read.
const MOST_WAITING: usize = 2 * WINDOW as usize;

/// A rule broken by one side of a channel; the channel is dropped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error("more data than was granted")]
    Credit,
    #[error("a frame that this side does not send")]
    Direction,
    #[error("more messages than are read")]
    Flood,
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// Who a channel belongs to.
#[derive(Debug)]
pub(super) enum Owner {
    /// A connection; what waits to be written to it, from `written` on.
    Connection { waiting: Vec<u8>, written: usize },
    /// A call of this process; its answer once it is there.
    Call { parts: Assembler, answer: Option<Reply> },
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) owner: Owner,
    /// The guest has heard of it, and is told of its end.
    pub(super) used: bool,
    /// Nothing more comes: the connection ends once what waits is written.
    pub(super) over: bool,
    /// What the owner may send to the guest.
    input: SendWindow,
    /// What the guest may send to the owner.
    output: SendWindow,
}

impl Channel {
    pub(super) fn new(owner: Owner) -> Channel {
        Channel {
            owner,
            used: false,
            over: false,
            input: SendWindow::default(),
            output: SendWindow::default(),
        }
    }

    /// A frame of the owner, checked and written to the guest's stream as channel `id`'s.
    pub(super) fn owner_frame(&mut self, id: u16, frame: &Frame, out: &mut Vec<u8>) -> Result<(), Violation> {
        match frame.kind {
            Kind::Stdin if !self.input.spend(frame.payload.len()) => return Err(Violation::Credit),
            Kind::Credit => {
                let granted = credit_of(&frame.payload).ok_or(Violation::Direction)?;
                if !self.output.grant(granted) {
                    return Err(Violation::Credit);
                }
            }
            Kind::Request | Kind::Stdin | Kind::StdinEof | Kind::Signal | Kind::Resize | Kind::Close => {}
            _ => return Err(Violation::Direction),
        }
        self.used = true;
        encode_flagged(out, id, frame.kind, frame.flags, &frame.payload);
        Ok(())
    }

    /// A frame of the guest, checked and kept for the owner.
    pub(super) fn guest_frame(&mut self, frame: &Frame) -> Result<(), Violation> {
        match frame.kind {
            Kind::Stdout | Kind::Stderr if !self.output.spend(frame.payload.len()) => {
                return Err(Violation::Credit);
            }
            Kind::Credit => {
                let granted = credit_of(&frame.payload).ok_or(Violation::Direction)?;
                if !self.input.grant(granted) {
                    return Err(Violation::Credit);
                }
            }
            Kind::Close => self.over = true,
            Kind::Stdout | Kind::Stderr | Kind::Reply | Kind::Exit => {}
            _ => return Err(Violation::Direction),
        }
        match &mut self.owner {
            Owner::Connection { waiting, written } => {
                encode_flagged(waiting, 0, frame.kind, frame.flags, &frame.payload);
                if waiting.len().saturating_sub(*written) > MOST_WAITING {
                    return Err(Violation::Flood);
                }
            }
            Owner::Call { parts, answer } if frame.kind == Kind::Reply => *answer = parts.take(frame)?,
            Owner::Call { .. } => {}
        }
        Ok(())
    }

    /// What waits to be written to the owner's connection.
    pub(super) fn waiting(&self) -> &[u8] {
        match &self.owner {
            Owner::Connection { waiting, written } => waiting.get(*written..).unwrap_or(&[]),
            Owner::Call { .. } => &[],
        }
    }

    /// So many bytes of it were.
    pub(super) fn wrote(&mut self, bytes: usize) {
        if let Owner::Connection { waiting, written } = &mut self.owner {
            *written = written.saturating_add(bytes).min(waiting.len());
            // Moved together rarely, so that a slow connection costs no copy of all for each write.
            if *written == waiting.len() || *written > WINDOW as usize {
                waiting.drain(..*written);
                *written = 0;
            }
        }
    }

    /// The agent is gone: the owner learns it by a close.
    pub(super) fn abandon(&mut self) {
        self.over = true;
        self.used = false;
        if let Owner::Connection { waiting, .. } = &mut self.owner {
            encode(waiting, 0, Kind::Close, &[]);
        }
    }
}
