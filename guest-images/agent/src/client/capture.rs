//! [`ExecSession::capture`]: a command whose output is wanted as bytes.

use super::session::{ExecSession, Output};
use super::{AgentError, ExecStatus};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};

/// Bytes of output that are kept of each stream; the rest is read and dropped.
const KEPT: usize = 16 << 20;

/// A finished command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// How it ended.
    pub status: ExecStatus,
    /// Its output, at most 16 MiB of it.
    pub stdout: Vec<u8>,
    /// Its errors, at most 16 MiB of them.
    pub stderr: Vec<u8>,
}

impl ExecSession {
    /// Runs the command with this input and returns what it wrote, or an error at the timeout
    /// (the command is then ended).
    pub fn capture(mut self, mut input: &[u8], timeout: Duration) -> Result<Captured, AgentError> {
        let until = Instant::now() + timeout;
        self.prepare()?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut ended = false;
        loop {
            let (now, rest) = input.split_at(self.input_room().min(input.len()));
            if !now.is_empty() {
                self.stdin(now);
                input = rest;
            }
            if input.is_empty() && !std::mem::replace(&mut ended, input.is_empty()) {
                self.stdin_end();
            }
            self.flush()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(AgentError::Timeout(timeout));
            }
            let writing = if self.unsent() > 0 {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            let mut fds = [PollFd::from_borrowed_fd(self.socket(), PollFlags::IN | writing)];
            match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(AgentError::Io(e.into())),
            }
            let mut found = Vec::new();
            self.receive(&mut found)?;
            for output in found {
                let (bytes, kept) = match output {
                    Output::Stdout(bytes) => (bytes, &mut stdout),
                    Output::Stderr(bytes) => (bytes, &mut stderr),
                    Output::End(exit) => {
                        return Ok(Captured {
                            status: ExecStatus::from(exit),
                            stdout,
                            stderr,
                        });
                    }
                };
                let room = KEPT.saturating_sub(kept.len()).min(bytes.len());
                kept.extend_from_slice(bytes.get(..room).unwrap_or(&[]));
                self.used(bytes.len());
            }
        }
    }
}
