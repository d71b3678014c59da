//! [`ExecSession::run`]: the caller's descriptors on one side, the command's streams on the other.

use super::session::{ExecSession, Output};
use super::{AgentError, ExecStatus, Size, Streams, Unread};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// What a pipe that polls as writable takes without waiting (PIPE_BUF).
const WITHOUT_WAITING: usize = 4096;

/// One of the caller's outputs, and what waits for it.
struct Sink<'a> {
    fd: BorrowedFd<'a>,
    waiting: VecDeque<Vec<u8>>,
    written: usize,
    piece: usize,
    closed: bool,
    /// Whether it is to be told also while nothing waits that its reader is gone.
    watched: bool,
}

impl<'a> Sink<'a> {
    fn new(fd: BorrowedFd<'a>) -> Sink<'a> {
        let is_file = rustix::fs::fstat(fd)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file());
        let piece = if is_file { usize::MAX } else { WITHOUT_WAITING };
        Sink {
            fd,
            waiting: VecDeque::new(),
            written: 0,
            piece,
            closed: false,
            watched: false,
        }
    }

    fn interest(&self) -> PollFlags {
        if self.waiting.is_empty() {
            PollFlags::empty()
        } else {
            PollFlags::OUT
        }
    }

    /// Writes once; the payload that is done with it, if one is.
    fn write(&mut self) -> Result<Option<usize>, Errno> {
        let Some(front) = self.waiting.front() else {
            return Ok(None);
        };
        let rest = front.get(self.written..).unwrap_or(&[]);
        if !self.closed {
            match rustix::io::write(self.fd, rest.get(..self.piece).unwrap_or(rest)) {
                Ok(bytes) => self.written = self.written.saturating_add(bytes),
                Err(Errno::INTR | Errno::AGAIN) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        if !self.closed && self.written < front.len() {
            return Ok(None);
        }
        self.written = 0;
        Ok(self.waiting.pop_front().map(|payload| payload.len()))
    }
}

/// Signals that ask a command to end, which it goes on after. It may see to something before it ends, or hang, or its
/// guest may, and somebody at this end wants out.
#[derive(Default)]
struct Insistence {
    asked: usize,
    last: Option<Instant>,
}

impl Insistence {
    /// So many of them, each within ten seconds of the one before, are meant for the caller: as many as with Docker.
    const ENOUGH: usize = 3;
    const WITHIN: Duration = Duration::from_secs(10);

    /// True: that is enough.
    fn counts(&mut self, signal: i32) -> bool {
        if ![libc::SIGHUP, libc::SIGINT, libc::SIGTERM].contains(&signal) {
            return false;
        }
        if self.last.is_some_and(|last| last.elapsed() > Self::WITHIN) {
            self.asked = 0;
        }
        self.asked = self.asked.saturating_add(1);
        self.last = Some(Instant::now());
        self.asked >= Self::ENOUGH
    }
}

/// The end of a command that takes too long.
struct Limit {
    at_most: Duration,
    /// When it is to be gone on with.
    next: Instant,
    /// How far it is: of [`Limit::STEPS`].
    steps: usize,
}

impl Limit {
    const STEPS: [i32; 2] = [libc::SIGTERM, libc::SIGKILL];
    const PATIENCE: Duration = Duration::from_secs(10);

    fn new(at_most: Duration) -> Self {
        Self {
            at_most,
            next: Instant::now() + at_most,
            steps: 0,
        }
    }

    fn left(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Whether the command was asked to end.
    fn is_over(&self) -> bool {
        self.steps > 0
    }

    fn ended(&self) -> ExecStatus {
        ExecStatus::TimedOut(format!(
            "the command did not end within {} s",
            self.at_most.as_secs_f32()
        ))
    }
}

/// What poll found.
struct Ready {
    socket: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    signals: bool,
}

impl ExecSession {
    /// Copies the streams, hands on signals and sizes, and returns how the command ended, after
    /// all its output was written; so is what came before the guest went away, unless a signal comes. When nobody reads
    /// standard output any more, it goes as [`Streams::unread`] says; it is ended, too, by the third signal in a row that
    /// asks it to end.
    pub fn run(mut self, streams: Streams<'_>) -> Result<ExecStatus, AgentError> {
        self.prepare()?;
        let mut stdin = streams.stdin;
        let mut stdout = Sink::new(streams.stdout);
        let mut stderr = Sink::new(streams.stderr);
        stdout.watched = streams.unread == Unread::IsDone;
        let mut ended = None;
        let mut insistence = Insistence::default();
        let mut limit = streams.at_most.map(Limit::new);
        let mut piece = vec![0; crate::frame::MAX_PAYLOAD];
        if stdin.is_none() {
            self.stdin_end();
        }
        loop {
            self.flush()?;
            if let Some(ended) = ended.take_if(|_| stdout.waiting.is_empty() && stderr.waiting.is_empty()) {
                let limit = limit.filter(Limit::is_over);
                return limit.map_or(ended, |limit| Ok(limit.ended()));
            }
            let over = ended.is_some();
            let patience = limit.as_ref().filter(|_| !over).map(Limit::left);
            let ready = wait(&self, stdin, [&stdout, &stderr], streams.signals, over, patience)?;
            if let Some(limit) = limit.as_mut().filter(|limit| !over && limit.left().is_zero()) {
                match Limit::STEPS.get(limit.steps) {
                    Some(signal) => self.signal(*signal),
                    None => return Ok(limit.ended()),
                }
                limit.steps = limit.steps.saturating_add(1);
                limit.next = Instant::now() + Limit::PATIENCE;
            }
            if ready.stdin
                && let Some(fd) = stdin
                && self.copy_input(fd, &mut piece)
            {
                stdin = None;
            }
            if ready.socket && !over {
                let mut found = Vec::new();
                ended = self.receive(&mut found).err().map(Err);
                for output in found {
                    match output {
                        Output::Stdout(bytes) => stdout.waiting.push_back(bytes),
                        Output::Stderr(bytes) => stderr.waiting.push_back(bytes),
                        Output::End(exit) => ended = Some(Ok(ExecStatus::from(exit))),
                    }
                }
            }
            // Behind what was received: it is the caller's where there is no command any more, since nobody may ever read
            // what waits. And it is the caller's where the command, or its guest, does not heed several.
            if ready.signals
                && let Some(signal) = self.hand_on_signals(&streams)
            {
                if let Some(ended) = ended.take() {
                    return ended.map(|_| ExecStatus::Signaled(signal));
                }
                if insistence.counts(signal) {
                    return Ok(ExecStatus::Signaled(signal));
                }
            }
            if ready.stdout && stdout.waiting.is_empty() && stdout.watched {
                return Ok(ExecStatus::Exited(0));
            }
            if ready.stdout {
                match stdout.write() {
                    Ok(done) => done.into_iter().for_each(|bytes| self.used(bytes)),
                    Err(Errno::PIPE) => match streams.unread {
                        Unread::BreaksPipe => return Ok(ExecStatus::Signaled(libc::SIGPIPE)),
                        Unread::GoesOn => stdout.closed = true,
                        Unread::IsDone => return Ok(ExecStatus::Exited(0)),
                    },
                    Err(e) => {
                        let lost = stdout.waiting.pop_front().unwrap_or_default();
                        return Err(AgentError::Output {
                            source: e.into(),
                            lost,
                        });
                    }
                }
            }
            if ready.stderr {
                match stderr.write() {
                    Ok(done) => done.into_iter().for_each(|bytes| self.used(bytes)),
                    Err(_) => stderr.closed = true, // its words are lost, the command goes on
                }
            }
        }
    }

    /// True: the input is over.
    fn copy_input(&mut self, fd: BorrowedFd<'_>, piece: &mut [u8]) -> bool {
        let room = self.input_room().min(piece.len());
        let Some(piece) = piece.get_mut(..room).filter(|piece| !piece.is_empty()) else {
            return false;
        };
        match rustix::io::read(fd, &mut *piece) {
            Ok(bytes @ 1..) => {
                self.stdin(piece.get(..bytes).unwrap_or(&[]));
                false
            }
            Err(Errno::INTR | Errno::AGAIN) => false,
            Ok(_) | Err(_) => {
                self.stdin_end();
                true
            }
        }
    }

    /// One that came, other than that of the terminal's size.
    fn hand_on_signals(&mut self, streams: &Streams<'_>) -> Option<i32> {
        let mut came = None;
        for signal in streams.signals.map(super::Signals::take).unwrap_or_default() {
            if signal != libc::SIGWINCH {
                self.signal(signal);
                came = Some(signal);
            } else if let Some(size) = streams.terminal.and_then(Size::of) {
                self.resize(size);
            }
        }
        came
    }
}

fn wait(
    session: &ExecSession,
    stdin: Option<BorrowedFd<'_>>,
    [stdout, stderr]: [&Sink<'_>; 2],
    signals: Option<&super::Signals>,
    over: bool,
    patience: Option<Duration>,
) -> Result<Ready, AgentError> {
    let sending = if session.unsent() > 0 {
        PollFlags::OUT
    } else {
        PollFlags::empty()
    };
    let socket = if over {
        PollFlags::empty()
    } else {
        PollFlags::IN | sending
    };
    let mut fds = Vec::with_capacity(5);
    let mut push = |fd, flags: PollFlags| {
        fds.push(PollFd::from_borrowed_fd(fd, flags));
        fds.len().saturating_sub(1)
    };
    // Poll reports hang-ups unasked: of all but this, what is not waited for is left out.
    let watched = stdout.watched.then(|| push(stdout.fd, stdout.interest()));
    let mut add = |fd, flags: PollFlags| (!flags.is_empty()).then(|| push(fd, flags));
    let socket = add(session.socket(), socket);
    let reading = !over && session.input_room() > 0;
    let stdin = stdin.filter(|_| reading).and_then(|fd| add(fd, PollFlags::IN));
    let stdout = watched.or_else(|| add(stdout.fd, stdout.interest()));
    let stderr = add(stderr.fd, stderr.interest());
    let signals = signals.and_then(|signals| add(signals.wake(), PollFlags::IN));
    // As much later as a poll rounds it off.
    let patience = patience.map(|left| left.saturating_add(Duration::from_millis(1)));
    match poll(
        &mut fds,
        patience.and_then(|left| Timespec::try_from(left).ok()).as_ref(),
    ) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(AgentError::Io(e.into())),
    }
    let found = |index: Option<usize>| {
        index
            .and_then(|index| fds.get(index))
            .is_some_and(|fd| !fd.revents().is_empty())
    };
    Ok(Ready {
        socket: found(socket),
        stdin: found(stdin),
        stdout: found(stdout),
        stderr: found(stderr),
        signals: found(signals),
    })
}
