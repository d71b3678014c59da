//! The parser of the frame stream: bytes in any cuts go in, frames and resyncs come out.
//!
//! ```text
//!        push                     next
//! bytes ------> buffer [..15 | unread ..] ------> Resync | Frame
//! ```
//!
//! A parser that has lost its step (an impossible header) drops bytes until the next marker. The
//! marker is looked for in every byte, also inside the payload that a dying peer left unfinished;
//! that is why the last 15 bytes are kept although they were read.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::frame::{Frame, HEADER, Header, RESYNC};

/// One finding of the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole frame.
    Frame(Frame),
    /// The peer began anew: whatever was half done on the stream is void.
    Resync,
}

/// The parser. It holds at most one unfinished frame and what was pushed last.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Everything before this was delivered or dropped.
    read: usize,
    /// No marker begins before this.
    scanned: usize,
    in_step: bool,
}

impl Decoder {
    /// For a stream that may begin anywhere: nothing is delivered before the first marker.
    pub fn hunting() -> Decoder {
        Decoder {
            buffer: Vec::new(),
            read: 0,
            scanned: 0,
            in_step: false,
        }
    }

    /// For a stream that begins with a frame, as a fresh socket does.
    pub fn in_step() -> Decoder {
        Decoder {
            in_step: true,
            ..Decoder::hunting()
        }
    }

    /// Whether the parser is between frames that it understood.
    pub fn is_in_step(&self) -> bool {
        self.in_step
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Adds what was received. Call [`Decoder::next`] until it has nothing before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        let done = self.read.min(self.scanned);
        if done > 0 {
            self.buffer.drain(..done);
            self.read = self.read.saturating_sub(done);
            self.scanned = self.scanned.saturating_sub(done);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame or marker, or none until more is pushed.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would end; this goes on after a push"
    )]
    pub fn next(&mut self) -> Option<Event> {
        let marker = self.find_marker();
        let limit = marker.unwrap_or(self.buffer.len());
        if let Some((header, end)) = self.frame_before(limit) {
            let start = self.read.saturating_add(HEADER);
            let payload = self.buffer.get(start..end)?.to_vec();
            self.read = end;
            let Header {
                channel, kind, flags, ..
            } = header;
            return Some(Event::Frame(Frame {
                channel,
                kind,
                flags,
                payload,
            }));
        }
        if let Some(at) = marker {
            self.read = at.saturating_add(RESYNC.len());
            self.scanned = self.read;
            self.in_step = true;
            return Some(Event::Resync);
        }
        if !self.in_step {
            self.read = self.buffer.len();
        }
        None
    }

    /// The frame at the read position if all of it lies before `limit`. Loses step at a header
    /// that cannot be one.
    fn frame_before(&mut self, limit: usize) -> Option<(Header, usize)> {
        if !self.in_step {
            return None;
        }
        let start = self.read.checked_add(HEADER).filter(|end| *end <= limit)?;
        let bytes = self.buffer.get(self.read..start)?.try_into().ok()?;
        let Some(header) = Header::parse(bytes) else {
            self.in_step = false;
            return None;
        };
        let end = start.checked_add(header.length)?;
        (end <= limit).then_some((header, end))
    }

    fn find_marker(&mut self) -> Option<usize> {
        let unscanned = self.buffer.get(self.scanned..)?;
        match memchr::memmem::find(unscanned, &RESYNC) {
            Some(at) => {
                self.scanned = self.scanned.saturating_add(at);
                Some(self.scanned)
            }
            None => {
                let kept = RESYNC.len().saturating_sub(1);
                self.scanned = self.scanned.max(self.buffer.len().saturating_sub(kept));
                None
            }
        }
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
