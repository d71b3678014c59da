//! A running command: its channel's state, and what can be said and heard on it.

use super::{AgentError, Size};
use crate::decoder::{Decoder, Event};
use crate::frame::{Kind, MAX_PAYLOAD, credit_of, encode, encode_credit, encode_data, encode_message};
use crate::message::{Assembler, Exit, Signal};
use crate::window::{ReceiveWindow, SendWindow};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A command that was asked for. [`ExecSession::run`] copies its streams until it ends;
/// [`ExecSession::capture`] collects them. Dropping it ends the command.
#[derive(Debug)]
pub struct ExecSession {
    stream: UnixStream,
    frames: Decoder,
    parts: Assembler,
    out: Vec<u8>,
    input: SendWindow,
    output: ReceiveWindow,
}

/// What the command did.
#[derive(Debug)]
pub(super) enum Output {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    End(Exit),
}

impl ExecSession {
    pub(super) fn new(stream: UnixStream, frames: Decoder) -> ExecSession {
        ExecSession {
            stream,
            frames,
            parts: Assembler::default(),
            out: Vec::new(),
            input: SendWindow::default(),
            output: ReceiveWindow::default(),
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn prepare(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)
    }

    /// Bytes that wait for the socket.
    pub(super) fn unsent(&self) -> usize {
        self.out.len()
    }

    /// How much of standard input may be taken now.
    pub(super) fn input_room(&self) -> usize {
        if self.out.len() > MAX_PAYLOAD {
            0
        } else {
            self.input.available().min(MAX_PAYLOAD)
        }
    }

    /// Hands on at most [`ExecSession::input_room`] bytes of standard input.
    pub(super) fn stdin(&mut self, bytes: &[u8]) {
        let start = self.out.len();
        encode_data(&mut self.out, 0, Kind::Stdin, bytes);
        let _within = self.input.spend_encoded(self.out.len().saturating_sub(start));
    }

    pub(super) fn stdin_end(&mut self) {
        encode(&mut self.out, 0, Kind::StdinEof, &[]);
    }

    /// Sends a signal to the command's process group.
    pub(super) fn signal(&mut self, signal: i32) {
        // A number is never too long for a message.
        let _ = encode_message(&mut self.out, 0, Kind::Signal, &Signal { signal });
    }

    pub(super) fn resize(&mut self, size: Size) {
        let _ = encode_message(&mut self.out, 0, Kind::Resize, &size);
    }

    /// Output of one frame with `bytes` of payload was used up: more may come.
    pub(super) fn used(&mut self, bytes: usize) {
        if let Some(credit) = self.output.used(bytes) {
            encode_credit(&mut self.out, 0, credit);
        }
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) -> Result<(), AgentError> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(bytes) => drop(self.out.drain(..bytes)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // What the agent said last may still be readable.
                Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                    self.out.clear();
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there; what came before an error is found all the same. An end of the stream before the
    /// command's is [`AgentError::Gone`].
    pub(super) fn receive(&mut self, found: &mut Vec<Output>) -> Result<(), AgentError> {
        let mut piece = [0; 64 * 1024];
        let ended = match self.stream.read(&mut piece) {
            Ok(0) => true,
            Ok(bytes) => {
                self.frames.push(piece.get(..bytes).unwrap_or(&[]));
                false
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => false,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => true,
            Err(e) => return Err(e.into()),
        };
        while let Some(event) = self.frames.next() {
            let Event::Frame(frame) = event else {
                return Err(AgentError::Confused);
            };
            match frame.kind {
                Kind::Stdout => found.push(Output::Stdout(frame.payload)),
                Kind::Stderr => found.push(Output::Stderr(frame.payload)),
                Kind::Exit => {
                    if let Some(exit) = self.parts.take(&frame)? {
                        found.push(Output::End(exit));
                        return Ok(());
                    }
                }
                Kind::Credit => {
                    let granted = credit_of(&frame.payload).ok_or(AgentError::Confused)?;
                    if !self.input.grant(granted) {
                        return Err(AgentError::Confused);
                    }
                }
                Kind::Close => return Err(AgentError::Gone),
                _ => return Err(AgentError::Confused),
            }
        }
        if ended || !self.frames.is_in_step() {
            Err(AgentError::Gone)
        } else {
            Ok(())
        }
    }
}
