//! Frames in a byte stream, as passt and QEMU's `-netdev stream` have them: each after its length, 32 bits, the highest
//! byte first.
//!
//! The other side is a process of the same user, and may be anything: it can stall, send nonsense, or go at any time.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::frame::MAX_FRAME;

/// Bytes of a length.
const LENGTH: usize = 4;
/// Room for frames on their way in either direction. Several at once save system calls.
const ROOM: usize = 4 * (LENGTH + MAX_FRAME);

/// A connection, with what is on its way.
#[derive(Debug)]
pub(super) struct Stream {
    socket: OwnedFd,
    incoming: Buffer,
    outgoing: Buffer,
}

/// Bytes from `start` to `end` of its room.
#[derive(Debug)]
struct Buffer {
    room: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new() -> Self {
        Self {
            room: vec![0; ROOM].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        self.room.get(self.start..self.end).unwrap_or_default()
    }

    /// The room behind the bytes, which are moved to the front where that is too little for a frame.
    fn free(&mut self) -> &mut [u8] {
        if self.room.len().saturating_sub(self.end) < LENGTH + MAX_FRAME {
            self.room.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end.saturating_sub(self.start));
        }
        self.room.get_mut(self.end..).unwrap_or_default()
    }

    fn fill(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.room.len());
    }

    fn take(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }
}

impl Stream {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            incoming: Buffer::new(),
            outgoing: Buffer::new(),
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether there is room for one more frame of any length.
    pub(super) fn has_room(&self) -> bool {
        let taken = self.outgoing.end.saturating_sub(self.outgoing.start);
        taken.saturating_add(LENGTH + MAX_FRAME) <= ROOM
    }

    /// Whether frames wait to be sent.
    pub(super) fn is_behind(&self) -> bool {
        !self.outgoing.bytes().is_empty()
    }

    /// Adds a frame of `len` bytes, which `fill` puts there: it is sent by [`flush`](Self::flush), unless `fill` says that
    /// it shall not. Only while there is [room](Self::has_room).
    pub(super) fn add<E>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some((length, rest)) = self.outgoing.free().split_at_mut_checked(LENGTH) else {
            return Ok(());
        };
        let (Some(frame), Ok(said)) = (rest.get_mut(..len), u32::try_from(len)) else {
            return Ok(());
        };
        fill(frame)?;
        length.copy_from_slice(&said.to_be_bytes());
        self.outgoing.fill(LENGTH.saturating_add(len));
        Ok(())
    }

    /// Sends as much as the other side takes.
    ///
    /// # Errors
    /// The other side is gone.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.is_behind() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&self.socket, self.outgoing.bytes(), flags) {
                Ok(sent) => self.outgoing.take(sent),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next frame that has come, whole; it stays until it is [taken](Self::take).
    ///
    /// # Errors
    /// The other side is gone, or says what can be no frame.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if self.whole()?.is_some() {
                break;
            }
            match recv(&self.socket, self.incoming.free(), RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, count)) => self.incoming.fill(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let len = self.whole()?.unwrap_or_default();
        let end = LENGTH.saturating_add(len);
        Ok(self.incoming.bytes().get(LENGTH..end))
    }

    /// Takes the frame that [`next`](Self::next) showed.
    pub(super) fn take(&mut self) {
        if let Ok(Some(len)) = self.whole() {
            self.incoming.take(LENGTH.saturating_add(len));
        }
    }

    /// The length of the first frame, if all of it is there.
    fn whole(&self) -> io::Result<Option<usize>> {
        let Some((length, rest)) = self.incoming.bytes().split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*length);
        let fits = usize::try_from(len)
            .ok()
            .filter(|len| (1..=MAX_FRAME).contains(len));
        let Some(fits) = fits else {
            let message = format!("a frame of {len} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        };
        Ok(Some(fits).filter(|len| *len <= rest.len()))
    }
}
