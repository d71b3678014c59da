//! A connection to a guest's agent: `agent.sock` of its instance, or any stream to a
//! [`crate::mux::Mux`].
//!
//! One connection is one channel: requests one after the other, or one command.

mod capture;
mod copy;
mod session;
mod signals;
mod terminal;

pub use crate::message::{ExecRequest, Hello, ShutdownMode, Size, Terminal};
pub use capture::Captured;
pub use session::ExecSession;
pub use signals::{Signals, Streams, Unread, heeded};
pub use terminal::RawMode;

use crate::decoder::{Decoder, Event};
use crate::frame::{Frame, Kind, MessageError, encode_message};
use crate::message::{Assembler, Exit, Failure, FailureKind, Reply, Request};
use rustix::fs::{Mode, OFlags};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Why the agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The socket is not there or nobody listens: the instance does not run.
    #[error("cannot reach the guest's agent: {0}")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("the connection to the guest's agent failed: {0}")]
    Io(#[from] io::Error),
    /// What the command printed could not be written here: the connection is whole.
    #[error("cannot write to standard output: {source}")]
    Output {
        /// The system's reason.
        #[source]
        source: io::Error,
        /// The piece that is lost.
        lost: Vec<u8>,
    },
    /// The agent or the machine went away.
    #[error("the guest's agent went away")]
    Gone,
    /// No answer in time: the guest still boots, or has no agent.
    #[error("the guest's agent did not answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The agent said no.
    #[error("the guest's agent: {0}")]
    Refused(#[from] Failure),
    /// Nonsense on the connection.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// An answer to something else.
    #[error("the guest's agent gave an answer that does not fit the request")]
    Confused,
}

/// Connects to the socket of the agent of the instance in `directory`.
///
/// The folder is opened and the socket named through it: an address of a socket has at most 108 bytes
/// (`sun_path`, unix(7)), and a folder's path may be longer.
pub fn open_socket(directory: &Path) -> io::Result<UnixStream> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(directory, flags, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}/agent.sock", folder.as_raw_fd()))
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecStatus {
    /// It returned this status.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It is not there.
    NotFound(String),
    /// It is there and cannot be executed.
    NotExecutable(String),
    /// It was not run, for another reason.
    Failed(String),
    /// It took longer than it may ([`Streams::at_most`]), and was asked to end, or killed.
    TimedOut(String),
}

impl ExecStatus {
    /// The status as docker, podman and shells give it: the command's own, 128 + signal, 127, 126,
    /// and 125 where Kiln itself failed; 124, as of timeout(1), where it took too long.
    pub fn code(&self) -> u8 {
        match self {
            ExecStatus::Exited(code) => u8::try_from(code & 0xff).unwrap_or(255),
            ExecStatus::Signaled(signal) => u8::try_from(signal.saturating_add(128) & 0xff).unwrap_or(255),
            ExecStatus::NotFound(_) => 127,
            ExecStatus::NotExecutable(_) => 126,
            ExecStatus::Failed(_) => 125,
            ExecStatus::TimedOut(_) => 124,
        }
    }

    /// What to tell the user when the command never ran, or took too long.
    pub fn message(&self) -> Option<&str> {
        match self {
            ExecStatus::Exited(_) | ExecStatus::Signaled(_) => None,
            ExecStatus::NotFound(why)
            | ExecStatus::NotExecutable(why)
            | ExecStatus::Failed(why)
            | ExecStatus::TimedOut(why) => Some(why),
        }
    }
}

impl From<Exit> for ExecStatus {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => ExecStatus::Exited(code),
            Exit::Signal(signal) => ExecStatus::Signaled(signal),
            Exit::Error(Failure {
                kind: FailureKind::NotFound,
                message,
            }) => ExecStatus::NotFound(message),
            Exit::Error(Failure {
                kind: FailureKind::NotExecutable,
                message,
            }) => ExecStatus::NotExecutable(message),
            Exit::Error(Failure { message, .. }) => ExecStatus::Failed(message),
        }
    }
}

/// A connection to the agent.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
    frames: Decoder,
    parts: Assembler,
}

impl Agent {
    /// Over a connected stream.
    pub fn connect(stream: UnixStream) -> Agent {
        Agent {
            stream,
            frames: Decoder::in_step(),
            parts: Assembler::default(),
        }
    }

    /// To the agent of the instance in `directory`.
    pub fn connect_in(directory: &Path) -> Result<Agent, AgentError> {
        Ok(Agent::connect(
            open_socket(directory).map_err(AgentError::Connect)?,
        ))
    }

    /// Waits until the agent answers, at most `timeout`: also through the guest's boot.
    pub fn hello(&mut self, timeout: Duration) -> Result<Hello, AgentError> {
        match self.ask(&Request::Hello, timeout)? {
            Reply::Hello(hello) => Ok(hello),
            _ => Err(AgentError::Confused),
        }
    }

    /// Ends the guest. Returns when the agent has begun to: wait for the instance's end elsewhere.
    pub fn shutdown(&mut self, mode: ShutdownMode, timeout: Duration) -> Result<(), AgentError> {
        self.ask(&Request::Shutdown { mode }, timeout).map(drop)
    }

    /// Writes everything back to the guest's disks.
    pub fn sync(&mut self, timeout: Duration) -> Result<(), AgentError> {
        self.ask(&Request::Sync, timeout).map(drop)
    }

    /// Freezes the guest's file systems for as long as `deadline` or this connection lasts, and
    /// says how many.
    pub fn freeze(&mut self, deadline: Duration, timeout: Duration) -> Result<u32, AgentError> {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Request::Freeze { deadline_ms }, timeout)? {
            Reply::Frozen { count } => Ok(count),
            _ => Err(AgentError::Confused),
        }
    }

    /// Thaws them, and says how many were still frozen.
    pub fn thaw(&mut self, timeout: Duration) -> Result<u32, AgentError> {
        match self.ask(&Request::Thaw, timeout)? {
            Reply::Thawed { count } => Ok(count),
            _ => Err(AgentError::Confused),
        }
    }

    /// Starts a command; its streams are the session's.
    pub fn exec(mut self, request: ExecRequest) -> Result<ExecSession, AgentError> {
        self.send(&Request::Exec(request))?;
        Ok(ExecSession::new(self.stream, self.frames))
    }

    /// Any request that has one reply.
    pub fn ask(&mut self, request: &Request, timeout: Duration) -> Result<Reply, AgentError> {
        let until = Instant::now() + timeout;
        self.send(request)?;
        loop {
            let frame = self.receive(until, timeout)?;
            match frame.kind {
                Kind::Reply => match self.parts.take(&frame)? {
                    Some(Reply::Error(failure)) => return Err(failure.into()),
                    Some(reply) => return Ok(reply),
                    None => {}
                },
                Kind::Close => return Err(AgentError::Gone),
                _ => return Err(AgentError::Confused),
            }
        }
    }

    fn send(&mut self, request: &Request) -> Result<(), AgentError> {
        let mut bytes = Vec::new();
        encode_message(&mut bytes, 0, Kind::Request, request)?;
        self.stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        self.stream.write_all(&bytes)?;
        Ok(())
    }

    fn receive(&mut self, until: Instant, timeout: Duration) -> Result<Frame, AgentError> {
        let mut piece = [0; 4096];
        loop {
            match self.frames.next() {
                Some(Event::Frame(frame)) => return Ok(frame),
                Some(Event::Resync) => return Err(AgentError::Confused),
                None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(AgentError::Timeout(timeout));
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(AgentError::Gone),
                Ok(bytes) => self.frames.push(piece.get(..bytes).unwrap_or(&[])),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(AgentError::Timeout(timeout)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(AgentError::Gone),
                Err(e) => return Err(e.into()),
            }
        }
    }
}
