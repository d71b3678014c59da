//! Lines and descriptors over a stream socket, both directions, every wait with a deadline.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::wire::{MAX_DESCRIPTORS, MAX_LINE};

/// Why a line could not be had or sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("the other side closed the connection")]
    Closed,
    #[error("the deadline passed")]
    Deadline,
    #[error("a line longer than {MAX_LINE} bytes")]
    TooLong,
    #[error("more than {MAX_DESCRIPTORS} descriptors with one request")]
    TooManyDescriptors,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for LineError {
    fn from(errno: rustix::io::Errno) -> Self {
        match errno {
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => Self::Closed,
            errno => Self::Io(errno.into()),
        }
    }
}

/// A connected stream that carries lines.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: UnixStream,
    /// Bytes after the last line that was handed out.
    pending: Vec<u8>,
    /// Descriptors that came with them.
    descriptors: Vec<OwnedFd>,
}

/// One line, without its end, and what came with it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) text: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Lines {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            pending: Vec::new(),
            descriptors: Vec::new(),
        }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The stream, which carries no more lines, and what came after the last one.
    pub(crate) fn into_stream(self) -> (UnixStream, Vec<u8>) {
        (self.stream, self.pending)
    }

    /// Waits up to `idle` for a line to begin, then until `rest` later for its end.
    pub(crate) fn read(&mut self, idle: Duration, rest: Duration) -> Result<Line, LineError> {
        let mut deadline = Instant::now() + if self.pending.is_empty() { idle } else { rest };
        let mut scanned = 0;
        loop {
            if let Some(end) = self.pending.iter().skip(scanned).position(|&byte| byte == b'\n') {
                let mut text: Vec<u8> = self.pending.drain(..=scanned + end).collect();
                text.pop();
                return Ok(Line {
                    text,
                    descriptors: std::mem::take(&mut self.descriptors),
                });
            }
            scanned = self.pending.len();
            if scanned >= MAX_LINE {
                return Err(LineError::TooLong);
            }
            wait(&self.stream, PollFlags::IN, deadline)?;
            let was_empty = scanned == 0;
            self.receive()?;
            if was_empty {
                deadline = Instant::now() + rest;
            }
        }
    }

    fn receive(&mut self) -> Result<(), LineError> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = rustix::net::recvmsg(
            &self.stream,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            flags,
        );
        let received = match received {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
            other => other?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.descriptors.extend(rights);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || self.descriptors.len() > MAX_DESCRIPTORS {
            return Err(LineError::TooManyDescriptors);
        }
        match bytes.get(..received.bytes) {
            None | Some([]) => Err(LineError::Closed),
            Some(bytes) => {
                self.pending.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Sends `text` and the end of the line, with `descriptors`, within `patience`.
    pub(crate) fn write(
        &mut self,
        text: &[u8],
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> Result<(), LineError> {
        let deadline = Instant::now() + patience;
        let mut line = text.to_vec();
        line.push(b'\n');
        if line.len() > MAX_LINE {
            return Err(LineError::TooLong);
        }
        if descriptors.len() > MAX_DESCRIPTORS {
            return Err(LineError::TooManyDescriptors);
        }
        let mut rest = line.as_slice();
        let mut descriptors = descriptors;
        while !rest.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
                debug_assert!(fits, "the space is for MAX_DESCRIPTORS");
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::sendmsg(&self.stream, &[IoSlice::new(rest)], &mut control, flags) {
                Ok(sent) => {
                    rest = rest.get(sent..).unwrap_or_default();
                    descriptors = &[];
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => wait(&self.stream, PollFlags::OUT, deadline)?,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Waits until `fd` is ready for `events` (or has hung up, which the next call will say).
pub(crate) fn wait(fd: impl AsFd, events: PollFlags, deadline: Instant) -> Result<(), LineError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(&fd, events)];
        match rustix::event::poll(&mut polled, Some(&timespec(left))) {
            Ok(0) => return Err(LineError::Deadline),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A duration as poll takes it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec {
        tv_sec: i64::MAX,
        tv_nsec: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    /// For what is to pass.
    const SOON: Duration = Duration::from_millis(50);
    /// For what comes, on a busy host too.
    const LONG: Duration = Duration::from_secs(60);

    fn pair() -> (Lines, Lines) {
        let (one, other) = UnixStream::pair().unwrap();
        (Lines::new(one), Lines::new(other))
    }

    #[test]
    fn lines_arrive_one_by_one_however_the_bytes_were_cut() {
        let (one, mut other) = pair();
        (&one.stream).write_all(b"first\nsec").unwrap();
        assert_eq!(other.read(LONG, LONG).unwrap().text, b"first");
        (&one.stream).write_all(b"ond\n\n").unwrap();
        assert_eq!(other.read(LONG, LONG).unwrap().text, b"second");
        assert_eq!(other.read(LONG, LONG).unwrap().text, b"");
    }

    #[test]
    fn descriptors_arrive_with_their_line() {
        let (mut one, mut other) = pair();
        let file = tempfile::tempfile().unwrap();
        one.write(b"with", &[file.as_fd(), file.as_fd()], LONG).unwrap();
        one.write(b"without", &[], LONG).unwrap();
        let line = other.read(LONG, LONG).unwrap();
        assert_eq!((line.text.as_slice(), line.descriptors.len()), (&b"with"[..], 2));
        File::from(line.descriptors.into_iter().next().unwrap())
            .write_all(b"x")
            .unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1);
        assert!(other.read(LONG, LONG).unwrap().descriptors.is_empty());
    }

    #[test]
    fn hazard_an_endless_line_and_a_half_line_are_cut_off() {
        let (one, mut other) = pair();
        (&one.stream).write_all(b"half").unwrap();
        assert!(matches!(other.read(SOON, SOON), Err(LineError::Deadline)));
        let writer = std::thread::spawn(move || while (&one.stream).write_all(&[b'x'; 4096]).is_ok() {});
        assert!(matches!(other.read(LONG, LONG), Err(LineError::TooLong)));
        drop(other);
        writer.join().unwrap();
    }

    #[test]
    fn a_closed_connection_is_told_apart_from_silence() {
        let (one, mut other) = pair();
        assert!(matches!(other.read(SOON, SOON), Err(LineError::Deadline)));
        drop(one);
        assert!(matches!(other.read(LONG, LONG), Err(LineError::Closed)));
        assert!(matches!(other.write(b"x", &[], LONG), Err(LineError::Closed)));
    }
}
