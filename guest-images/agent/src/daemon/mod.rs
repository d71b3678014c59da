//! The daemon in the guest: one thread that polls the port and the streams of all commands, and
//! short-lived ones for what may take long (freezing, syncing, ending the guest).
//!
//! ```text
//!  port --Decoder--> Request --+--> command (spawn, streams)      --+
//!                              +--> freezer (its thread, a lease)   +--> out --> port
//!                              +--> job (sync, shutdown)          --+
//! ```
//!
//! Nothing here waits for a peer: what the host does not take stays in its channel's pipe, and
//! what a command does not read stays within its credit. The power button is served, too, since a
//! guest without logind has nobody else for it.

mod button;
mod clock;
mod command;
mod control;
mod freezer;
mod hello;
mod mounts;
mod port;
mod pty;
mod randomness;
mod shutdown;
mod spawn;
mod streams;
mod users;

pub use port::{Port, find_port};

use crate::decoder::{Decoder, Event};
use crate::frame::{Kind, RESYNC, encode_message};
use crate::message::{Assembler, Greeting, PROTOCOL, Reply};
use button::Buttons;
use command::Command;
use freezer::Freezer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Bytes that may wait for the port before commands are no longer read. Bounds memory.
const MOST_DATA: usize = 128 * 1024;
/// Bytes that may wait for the port before it is no longer read: a host that asks without
/// listening is left alone.
const MOST_WAITING: usize = 2 << 20;
/// Longest sleep: buttons that appear late are found by then.
const ROUND: Duration = Duration::from_secs(10);

/// An answer that another thread has ready.
struct Answer {
    channel: u16,
    reply: Reply,
    /// What to do once the reply is on its way.
    then: Option<shutdown::Direct>,
}

/// Where other threads put their answers.
#[derive(Clone)]
struct Answers {
    queue: mpsc::Sender<Answer>,
    wake: Arc<OwnedFd>,
}

impl Answers {
    fn give(&self, channel: u16, reply: Reply, then: Option<shutdown::Direct>) {
        // The daemon is gone if nobody listens; so is this process, soon.
        let _ = self.queue.send(Answer { channel, reply, then });
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

/// Why [`Daemon::serve`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// The port is gone: look for it again.
    PortLost,
    /// A signal asked this process to end.
    Stopped,
}

/// The daemon's state across ports.
pub struct Daemon {
    session: u64,
    epoch: u64,
    frames: Decoder,
    out: Vec<u8>,
    requests: BTreeMap<u16, Assembler>,
    commands: BTreeMap<u16, Command>,
    /// Of clients that are gone: only watched until nothing of them is left.
    ending: Vec<Command>,
    freezer: Freezer,
    buttons: Buttons,
    answers: Answers,
    queue: mpsc::Receiver<Answer>,
    direct: Option<shutdown::Direct>,
    children: UnixStream,
    stop: Option<UnixStream>,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// What else the daemon looks after, besides its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duties {
    /// The whole guest: the power button, and SIGTERM and SIGINT as its own end.
    Guest,
    /// The port alone: for tests.
    PortOnly,
}

impl Daemon {
    /// A daemon with a session of its own.
    pub fn new(duties: Duties) -> io::Result<Daemon> {
        let (children, write) = UnixStream::pair()?;
        children.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(libc::SIGCHLD, write)?;
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let wake = Arc::new(rustix::event::eventfd(0, flags)?);
        let (sender, queue) = mpsc::channel();
        let answers = Answers { queue: sender, wake };
        let stop = match duties {
            Duties::Guest => {
                freezer::thaw_leftovers();
                Some(stop_signals()?)
            }
            Duties::PortOnly => None,
        };
        Ok(Daemon {
            session: random(),
            epoch: 0,
            frames: Decoder::hunting(),
            out: Vec::new(),
            requests: BTreeMap::new(),
            commands: BTreeMap::new(),
            ending: Vec::new(),
            freezer: Freezer::start(answers.clone())?,
            buttons: Buttons::new(duties),
            answers,
            queue,
            direct: None,
            children,
            stop,
        })
    }

    /// Looks after the rest of its duties while there is no port.
    pub fn idle(&mut self, pause: Duration) -> Served {
        let now = Instant::now();
        self.buttons.look(now);
        self.tend(now);
        let mut fds: Vec<PollFd<'_>> = self
            .stop
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        fds.extend(
            self.buttons
                .fds()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        );
        // An interrupted or failed wait is a short one.
        let _ = poll(&mut fds, Timespec::try_from(pause).ok().as_ref());
        let stop = self.stop.is_some() && fds.first().is_some_and(|fd| !fd.revents().is_empty());
        self.buttons.read(&self.answers);
        while let Ok(answer) = self.queue.try_recv() {
            if let Some(direct) = answer.then {
                direct.act();
            }
        }
        if stop { Served::Stopped } else { Served::PortLost }
    }

    /// Serves this port until it is lost.
    pub fn serve(&mut self, mut port: Port) -> io::Result<Served> {
        self.frames = Decoder::hunting();
        self.out.clear();
        self.greet();
        loop {
            if !port.write(&mut self.out)? {
                self.host_left();
                return Ok(Served::PortLost);
            }
            if self.out.is_empty()
                && let Some(direct) = self.direct.take()
            {
                direct.act();
            }
            let now = Instant::now();
            self.buttons.look(now);
            self.tend(now);
            let woken = self.wait(&port, now)?;
            if woken.stop {
                self.host_left();
                self.freezer.stop();
                return Ok(Served::Stopped);
            }
            self.buttons.read(&self.answers);
            while let Ok(answer) = self.queue.try_recv() {
                self.reply(answer.channel, &answer.reply);
                self.direct = self.direct.take().or(answer.then);
            }
            if woken.port {
                match port.read()? {
                    port::Read::Bytes(bytes) => {
                        self.frames.push(bytes);
                        self.take_frames();
                    }
                    port::Read::Nothing => {}
                    port::Read::HostLeft => self.host_left(),
                    port::Read::Gone => {
                        self.host_left();
                        return Ok(Served::PortLost);
                    }
                }
            }
        }
    }

    /// Says who is there: the marker first, since the host may just have come.
    fn greet(&mut self) {
        self.out.extend_from_slice(&RESYNC);
        let greeting = Greeting {
            version: PROTOCOL,
            epoch: self.epoch,
            session: self.session,
        };
        self.send(0, Kind::Hello, &greeting);
    }

    fn send<T: serde::Serialize>(&mut self, channel: u16, kind: Kind, message: &T) {
        if let Err(e) = encode_message(&mut self.out, channel, kind, message) {
            // A hello of a megabyte: cannot be.
            let _ = writeln!(io::stderr(), "kiln-agent: {e}");
        }
    }

    fn reply(&mut self, channel: u16, reply: &Reply) {
        self.send(channel, Kind::Reply, reply);
    }

    fn take_frames(&mut self) {
        while let Some(event) = self.frames.next() {
            match event {
                Event::Resync => self.requests.clear(),
                Event::Frame(frame) => self.frame(frame),
            }
        }
    }

    /// The host that was there is gone, or another one is: what it asked for is undone.
    fn host_left(&mut self) {
        self.frames = Decoder::hunting();
        self.out.clear();
        self.requests.clear();
        self.freezer.release_all();
        for (_, command) in std::mem::take(&mut self.commands) {
            self.ending.push(command.end());
        }
    }

    /// Moves every command on, as far as that goes without waiting.
    fn tend(&mut self, now: Instant) {
        for (channel, command) in &mut self.commands {
            command.write_input(*channel, &mut self.out);
            if self.out.len() < MOST_DATA {
                command.read_output(*channel, &mut self.out);
            }
        }
        let done = self.commands.iter().filter(|(_, command)| command.is_done());
        for channel in done.map(|(channel, _)| *channel).collect::<Vec<_>>() {
            if let Some(command) = self.commands.remove(&channel) {
                self.send(channel, Kind::Exit, &command.into_exit());
            }
        }
        self.ending.retain_mut(|command| !command.is_gone(now));
    }

    fn wait(&mut self, port: &Port, now: Instant) -> io::Result<Woken> {
        let mut fds = vec![PollFd::new(&*self.answers.wake, PollFlags::IN)];
        fds.push(PollFd::new(&self.children, PollFlags::IN));
        let stop = self.stop.as_ref().map_or(self.children.as_fd(), AsFd::as_fd);
        fds.push(PollFd::from_borrowed_fd(stop, PollFlags::IN));
        let mut timeout = self.buttons.timeout(now).min(ROUND);
        let mut flags = PollFlags::empty();
        if self.out.len() < MOST_WAITING {
            flags |= PollFlags::IN;
        }
        if !self.out.is_empty() {
            flags |= PollFlags::OUT;
        }
        match port.pollable(flags) {
            Some(fd) => fds.push(PollFd::from_borrowed_fd(fd, flags)),
            None => timeout = timeout.min(port::RECONNECT),
        }
        let port_index = fds.len().saturating_sub(1);
        let reading = self.out.len() < MOST_DATA;
        for command in self.commands.values() {
            let (streams, until) = command.interests(reading, now);
            fds.extend(streams.map(|(fd, flags): (BorrowedFd<'_>, _)| PollFd::from_borrowed_fd(fd, flags)));
            timeout = timeout.min(until.unwrap_or(ROUND));
        }
        if !self.ending.is_empty() {
            timeout = timeout.min(Duration::from_millis(250));
        }
        fds.extend(
            self.buttons
                .fds()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        );
        match poll(&mut fds, Timespec::try_from(timeout).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let found = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        let woken = Woken {
            stop: self.stop.is_some() && found(2),
            // Without a descriptor in the set the read finds out whether the host is back.
            port: port_index < 3 || found(port_index),
        };
        let mut piece = [0; 64];
        let _ = rustix::io::read(&*self.answers.wake, &mut piece);
        if let Ok(1..) = rustix::io::read(&self.children, &mut piece) {
            self.commands
                .values_mut()
                .chain(&mut self.ending)
                .for_each(Command::reap);
        }
        Ok(woken)
    }
}

/// What poll found, as far as it is not looked for anyhow.
struct Woken {
    stop: bool,
    port: bool,
}

fn stop_signals() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read)
}

/// A number that no earlier agent of this guest chose.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the buffer is 8 bytes long, as is said.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    if filled == 8 {
        return u64::from_ne_bytes(bytes) | 1;
    }
    // Early in the boot, without entropy: the clock and the process differ as well.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    ((u64::from(now.subsec_nanos()) << 32) ^ now.as_secs() ^ (u64::from(std::process::id()) << 16)) | 1
}
