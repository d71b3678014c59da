//! The mux's thread: one poll over the wake-up, the listener, the connections and, where the
//! guest's port is a stream, that.

use super::channel::Owner;
use super::state::CloseGuest;
use super::{PortWriter, Shared};
use crate::decoder::{Decoder, Event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Read from one descriptor at a time: small, so that all get their turn.
const PIECE: usize = 64 * 1024;

pub(super) enum Port {
    Writer(Box<dyn PortWriter>),
    Stream(OwnedFd),
}

struct Connection {
    stream: UnixStream,
    frames: Decoder,
}

pub(super) struct Loop {
    shared: Arc<Shared>,
    listener: UnixListener,
    port: Port,
    connections: BTreeMap<u16, Connection>,
    piece: Vec<u8>,
}

/// What poll found.
#[derive(Default)]
struct Ready {
    accept: bool,
    port: bool,
    connections: Vec<(u16, PollFlags)>,
}

impl Loop {
    pub(super) fn new(shared: Arc<Shared>, listener: UnixListener, port: Port) -> Loop {
        Loop {
            shared,
            listener,
            port,
            connections: BTreeMap::new(),
            piece: vec![0; PIECE],
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.lock().is_ended() {
            let pause = self.shared.lock().greet(Instant::now());
            if !self.write_port() {
                break;
            }
            let Ok(ready) = self.wait(pause) else { break };
            if ready.port && !self.read_port() {
                break;
            }
            if ready.accept {
                self.accept();
            }
            for (id, flags) in ready.connections {
                self.serve(id, flags);
            }
        }
        self.shared.lock().end();
        for id in std::mem::take(&mut self.connections)
            .into_iter()
            .map(|(id, connection)| {
                // The last word (a close) is worth one try.
                let state = self.shared.lock();
                let _ = (&connection.stream).write(state.waiting(id).0);
                id
            })
        {
            self.shared.lock().close(id, CloseGuest::NotTold);
        }
        self.shared.answered.notify_all();
    }

    fn wait(&self, pause: Option<Duration>) -> Result<Ready, Errno> {
        let mut fds = vec![
            PollFd::new(&self.shared.wake, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        {
            let mut state = self.shared.lock();
            let reading = if state.takes_input() {
                PollFlags::IN
            } else {
                PollFlags::empty()
            };
            for (id, connection) in &self.connections {
                let (waiting, over) = state.waiting(*id);
                let writing = if waiting.is_empty() && !over {
                    PollFlags::empty()
                } else {
                    PollFlags::OUT
                };
                fds.push(PollFd::new(&connection.stream, reading | writing));
            }
            if let Port::Stream(stream) = &self.port {
                let writing = if state.outgoing().is_empty() {
                    PollFlags::empty()
                } else {
                    PollFlags::OUT
                };
                fds.push(PollFd::new(stream, PollFlags::IN | writing));
            }
        }
        let timeout = pause.and_then(|pause| Timespec::try_from(pause).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(e) => return Err(e),
        }
        let mut found = fds.iter().map(PollFd::revents);
        if found.next().is_some_and(|flags| !flags.is_empty()) {
            // Emptied; what it was about is in the state.
            let _ = rustix::io::read(&self.shared.wake, &mut [0u8; 8]);
        }
        let accept = found.next().is_some_and(|flags| !flags.is_empty());
        let ids = self.connections.keys().copied();
        let connections: Vec<_> = ids
            .zip(found.by_ref())
            .filter(|(_, flags)| !flags.is_empty())
            .collect();
        let port = found
            .next()
            .is_some_and(|flags| !flags.difference(PollFlags::OUT).is_empty());
        Ok(Ready {
            accept,
            port,
            connections,
        })
    }

    /// False: the port is gone.
    fn write_port(&mut self) -> bool {
        let mut state = self.shared.lock();
        let out = state.outgoing();
        let mut taken = 0;
        let alive = loop {
            let rest = out.get(taken..).unwrap_or(&[]);
            if rest.is_empty() {
                break true;
            }
            let result = match &mut self.port {
                Port::Writer(writer) => writer.write(rest),
                Port::Stream(stream) => rustix::io::write(&*stream, rest).map_err(Into::into),
            };
            match result {
                Ok(0) => break true,
                Ok(bytes) => taken += bytes,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => break e.kind() == ErrorKind::WouldBlock,
            }
        };
        out.drain(..taken.min(out.len()));
        alive
    }

    /// False: the port is gone.
    fn read_port(&mut self) -> bool {
        let Port::Stream(stream) = &self.port else {
            return true;
        };
        match rustix::io::read(stream, &mut self.piece[..]) {
            Ok(0) => false,
            Ok(bytes) => {
                self.shared.lock().heard(self.piece.get(..bytes).unwrap_or(&[]));
                self.shared.answered.notify_all();
                true
            }
            Err(e) => e == Errno::AGAIN || e == Errno::INTR,
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let owner = Owner::Connection {
                waiting: Vec::new(),
                written: 0,
            };
            // One too many is closed at once: its client reads the end.
            if let Some(id) = self.shared.lock().open(owner) {
                self.connections.insert(
                    id,
                    Connection {
                        stream,
                        frames: Decoder::in_step(),
                    },
                );
            }
        }
    }

    fn serve(&mut self, id: u16, flags: PollFlags) {
        let gone = PollFlags::HUP | PollFlags::ERR;
        let mut alive = true;
        if flags.contains(PollFlags::IN) {
            alive = self.read(id);
        } else if flags.intersects(gone) {
            alive = false;
        }
        if alive && flags.contains(PollFlags::OUT) {
            alive = self.write(id);
        }
        if !alive {
            self.connections.remove(&id);
            self.shared.lock().close(id, CloseGuest::Told);
        }
    }

    fn read(&mut self, id: u16) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return true;
        };
        let bytes = match connection.stream.read(&mut self.piece) {
            Ok(0) => return false,
            Ok(bytes) => bytes,
            Err(e) => return matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        };
        connection.frames.push(self.piece.get(..bytes).unwrap_or(&[]));
        let mut state = self.shared.lock();
        while let Some(event) = connection.frames.next() {
            let Event::Frame(frame) = event else { return false };
            if state.owner_frame(id, &frame).is_err() {
                return false;
            }
        }
        connection.frames.is_in_step()
    }

    fn write(&mut self, id: u16) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return true;
        };
        let mut state = self.shared.lock();
        let (waiting, over) = state.waiting(id);
        if waiting.is_empty() {
            return !over;
        }
        match connection.stream.write(waiting) {
            Ok(bytes) => {
                let done = bytes == waiting.len() && over;
                state.wrote(id, bytes);
                !done
            }
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}
