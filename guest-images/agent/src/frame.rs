//! The frames of the agent's byte stream, and how they are written.
//!
//! ```text
//! channel: u16 le | kind: u8 | flags: u8 | length: u32 le (<= 32768) | payload
//! ```
//!
//! One stream carries all channels. Channel 0 is the stream's own (greetings, resync); the host
//! opens the others, 1 to [`MAX_CHANNEL`], each with a request.
//!
//! The stream may begin in the middle: bytes written before the other side opened its end are
//! lost or stale. The [`RESYNC`] marker restarts the parser wherever it stands. It is itself a
//! frame, so a parser in step just passes it, and no sequence of valid frames contains it:
//! [`encode_data`] cuts a payload that would, and its bytes are chosen so that it fits no payload
//! and header side by side.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use serde::Serialize;

/// Bytes of a frame's header.
pub const HEADER: usize = 8;
/// Largest payload: bounds what a parser holds for one frame.
pub const MAX_PAYLOAD: usize = 32 * 1024;
/// Largest channel number. Above it only the marker's own: see [`RESYNC`].
pub const MAX_CHANNEL: u16 = 0x7fff;
/// Largest JSON message, in as many frames as it takes: bounds its reassembly.
pub const MAX_MESSAGE: usize = 1 << 20;
/// The message goes on in the next frame of this channel and kind.
pub const MORE: u8 = 1;

/// The marker at which a parser begins anew: the header of a [`Kind::Resync`] frame on channel
/// 0xffff and its eight bytes of payload. All of the latter are above 0x7f, so that they are no
/// kind, no channel and no length: a header can never continue a marker that a payload began.
pub const RESYNC: [u8; 16] = [
    0xff, 0xff, 13, 0xa5, 8, 0, 0, 0, 0x9e, 0xc1, 0xb7, 0x8f, 0xd3, 0xa8, 0xe5, 0xf0,
];

/// A message that cannot be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// More than [`MAX_MESSAGE`] bytes.
    #[error("a message of {length} bytes is longer than the agent's protocol allows (1 MiB)")]
    TooLong {
        /// Its length in bytes, as far as it was seen.
        length: usize,
    },
    /// No JSON of the expected form.
    #[error("a malformed message on the agent's port: {0}")]
    Malformed(String),
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Host to guest, JSON [`crate::message::Request`]: opens the channel.
    Request = 1,
    /// Guest to host, JSON [`crate::message::Reply`].
    Reply = 2,
    /// Host to guest, bytes for the command's standard input.
    Stdin = 3,
    /// Host to guest: standard input ends here.
    StdinEof = 4,
    /// Guest to host, bytes of standard output (of the terminal, with one).
    Stdout = 5,
    /// Guest to host, bytes of standard error.
    Stderr = 6,
    /// Guest to host, JSON [`crate::message::Exit`]: the command's end, after all its output.
    Exit = 7,
    /// Host to guest, JSON [`crate::message::Signal`].
    Signal = 8,
    /// Host to guest, JSON [`crate::message::Size`]: the terminal's new size.
    Resize = 9,
    /// Both ways, u32 le: so many more bytes of data may be sent.
    Credit = 10,
    /// Both ways: the channel is over. To the guest: kill what runs in it.
    Close = 11,
    /// Both ways on channel 0, JSON [`crate::message::Greeting`].
    Hello = 12,
    /// The payload of [`RESYNC`].
    Resync = 13,
}

impl Kind {
    /// The kind of this number, if it is one.
    pub fn from_u8(value: u8) -> Option<Kind> {
        Some(match value {
            1 => Kind::Request,
            2 => Kind::Reply,
            3 => Kind::Stdin,
            4 => Kind::StdinEof,
            5 => Kind::Stdout,
            6 => Kind::Stderr,
            7 => Kind::Exit,
            8 => Kind::Signal,
            9 => Kind::Resize,
            10 => Kind::Credit,
            11 => Kind::Close,
            12 => Kind::Hello,
            13 => Kind::Resync,
            _ => return None,
        })
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whose it is; 0 is the stream's own.
    pub channel: u16,
    /// What the payload is.
    pub kind: Kind,
    /// [`MORE`] or nothing.
    pub flags: u8,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
}

/// A frame's header once it was found valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) channel: u16,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) length: usize,
}

impl Header {
    /// None: no header that any sender of ours writes, so the stream is out of step.
    pub(crate) fn parse(bytes: &[u8; HEADER]) -> Option<Header> {
        let [c0, c1, kind, flags, l0, l1, l2, l3] = *bytes;
        let channel = u16::from_le_bytes([c0, c1]);
        let kind = Kind::from_u8(kind)?;
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
        let valid = channel <= MAX_CHANNEL && length <= MAX_PAYLOAD && flags <= MORE && kind != Kind::Resync;
        valid.then_some(Header {
            channel,
            kind,
            flags,
            length,
        })
    }
}

/// Appends one frame to `out`. The payload is at most [`MAX_PAYLOAD`] bytes; what is longer is
/// cut, so callers with more use [`encode_data`] or [`encode_message`].
pub fn encode(out: &mut Vec<u8>, channel: u16, kind: Kind, payload: &[u8]) {
    encode_flagged(out, channel, kind, 0, payload);
}

/// Appends one frame with its flags to `out`, as [`encode`] does.
pub fn encode_flagged(out: &mut Vec<u8>, channel: u16, kind: Kind, flags: u8, payload: &[u8]) {
    let payload = payload.get(..MAX_PAYLOAD).unwrap_or(payload);
    let length = u32::try_from(payload.len()).unwrap_or(0);
    out.extend_from_slice(&channel.to_le_bytes());
    out.extend_from_slice(&[kind as u8, flags]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Appends `data` to `out` in as many frames as it takes, none of which holds the resync marker.
pub fn encode_data(out: &mut Vec<u8>, channel: u16, kind: Kind, mut data: &[u8]) {
    while !data.is_empty() {
        let most = data.len().min(MAX_PAYLOAD);
        let piece = data.get(..most).unwrap_or(data);
        // The last byte of the marker could be a header's first: 15 bytes of it are too many.
        let marker = RESYNC.get(..15).unwrap_or(&RESYNC);
        let cut = memchr::memmem::find(piece, marker).map_or(most, |at| at.saturating_add(HEADER));
        let (piece, rest) = data.split_at_checked(cut).unwrap_or((data, &[]));
        encode(out, channel, kind, piece);
        data = rest;
    }
}

/// Appends a JSON message to `out`, in several frames if it is long.
pub fn encode_message<T: Serialize>(
    out: &mut Vec<u8>,
    channel: u16,
    kind: Kind,
    message: &T,
) -> Result<(), MessageError> {
    let json = serde_json::to_vec(message).map_err(|e| MessageError::Malformed(e.to_string()))?;
    if json.len() > MAX_MESSAGE {
        return Err(MessageError::TooLong { length: json.len() });
    }
    let mut pieces = json.chunks(MAX_PAYLOAD).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_some() { MORE } else { 0 };
        encode_flagged(out, channel, kind, flags, piece);
    }
    Ok(())
}

/// Appends a grant of `bytes` more to `out`.
pub fn encode_credit(out: &mut Vec<u8>, channel: u16, bytes: u32) {
    encode(out, channel, Kind::Credit, &bytes.to_le_bytes());
}

/// The bytes that a credit frame grants; none if its payload is no u32.
pub fn credit_of(payload: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(payload.try_into().ok()?))
}
