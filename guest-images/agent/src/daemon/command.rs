//! A running command of one channel.

use super::pty;
use super::spawn::{Spawned, spawn};
use super::streams::{Inlet, Outlet};
use crate::frame::{Kind, encode_credit};
use crate::message::{ExecRequest, Exit, Failure, Size};
use crate::window::{ReceiveWindow, SendWindow};
use rustix::event::PollFlags;
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpid};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// What a command whose client is gone has for its own end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Command {
    /// Of its leader, and so of its process group.
    pid: Pid,
    stdin: Inlet,
    stdout: Outlet,
    stderr: Option<Outlet>,
    output: SendWindow,
    input: ReceiveWindow,
    exit: Option<Exit>,
    kill_at: Option<Instant>,
}

impl Command {
    pub(super) fn start(request: &ExecRequest) -> Result<Command, Failure> {
        let Spawned {
            child,
            stdin,
            stdout,
            stderr,
        } = spawn(request)?;
        // The handle is dropped: it neither waits nor kills, which is done here by number.
        let pid = Pid::from_child(&child);
        let (stdin, stdout) = match stderr {
            None => (Inlet::terminal(stdin), Outlet::terminal(stdout)),
            Some(_) => (Inlet::pipe(stdin), Outlet::pipe(Kind::Stdout, stdout)),
        };
        Ok(Command {
            pid,
            stdin,
            stdout,
            stderr: stderr.map(|fd| Outlet::pipe(Kind::Stderr, fd)),
            output: SendWindow::default(),
            input: ReceiveWindow::default(),
            exit: None,
            kill_at: None,
        })
    }

    /// What to poll, and when to come back although nothing happens.
    pub(super) fn interests(
        &self,
        reading: bool,
        now: Instant,
    ) -> (
        impl Iterator<Item = (BorrowedFd<'_>, PollFlags)>,
        Option<Duration>,
    ) {
        let reading = reading && self.output.available() > 0;
        let outlets = std::iter::once(&self.stdout).chain(&self.stderr);
        let outlets = outlets
            .filter(move |_| reading)
            .filter_map(Outlet::fd)
            .map(|fd| (fd, PollFlags::IN));
        let streams = self
            .stdin
            .fd()
            .map(|fd| (fd, PollFlags::OUT))
            .into_iter()
            .chain(outlets);
        let until = self.stdout.quiet_at().filter(|_| reading);
        let until = until.map(|at| at.saturating_duration_since(now));
        (streams, until)
    }

    pub(super) fn input(&mut self, bytes: &[u8]) {
        self.stdin.push(bytes);
    }

    pub(super) fn input_end(&mut self) {
        self.stdin.end();
    }

    pub(super) fn grant(&mut self, bytes: u32) {
        // The mux has checked it; a wrong grant harms its own channel only.
        let _ = self.output.grant(bytes);
    }

    pub(super) fn write_input(&mut self, channel: u16, out: &mut Vec<u8>) {
        let input = &mut self.input;
        self.stdin.write(|payload| {
            if let Some(credit) = input.used(payload) {
                encode_credit(out, channel, credit);
            }
        });
    }

    pub(super) fn read_output(&mut self, channel: u16, out: &mut Vec<u8>) {
        self.stdout.read(channel, &mut self.output, out);
        if let Some(stderr) = &mut self.stderr {
            stderr.read(channel, &mut self.output, out);
        }
    }

    /// To the whole process group; with a terminal, to the group in its foreground.
    pub(super) fn signal(&self, signal: i32) {
        let foreground = self
            .stdin
            .master()
            .and_then(|master| rustix::termios::tcgetpgrp(master).ok());
        if let Some(signal) = Signal::from_named_raw(signal) {
            let _ = kill_process_group(foreground.unwrap_or(self.pid), signal);
        }
    }

    pub(super) fn resize(&self, size: Size) {
        if let Some(master) = self.stdin.master() {
            let _ = pty::resize(master, size);
        }
    }

    /// A child has ended, maybe this one.
    pub(super) fn reap(&mut self) {
        if self.exit.is_some() {
            return;
        }
        match waitpid(Some(self.pid), WaitOptions::NOHANG) {
            Ok(None) | Err(rustix::io::Errno::INTR) => return,
            Ok(Some((_, status))) => {
                self.exit = Some(match status.terminating_signal() {
                    Some(signal) => Exit::Signal(signal),
                    None => Exit::Code(status.exit_status().unwrap_or(255)),
                });
            }
            Err(_) => self.exit = Some(Exit::Code(255)),
        }
        let now = Instant::now();
        self.stdout.command_ended(now);
        self.stderr
            .iter_mut()
            .for_each(|stderr| stderr.command_ended(now));
    }

    /// It has ended and all of its output is on its way.
    pub(super) fn is_done(&self) -> bool {
        self.exit.is_some() && self.stdout.is_done() && self.stderr.iter().all(Outlet::is_done)
    }

    pub(super) fn into_exit(self) -> Exit {
        self.exit.unwrap_or(Exit::Code(255))
    }

    /// Its client is gone: told to end, and killed a little later. Its streams close with this.
    pub(super) fn end(mut self) -> Command {
        for signal in [Signal::HUP, Signal::TERM, Signal::CONT] {
            self.signal(signal.as_raw());
            let _ = kill_process_group(self.pid, signal);
        }
        self.stdin = Inlet::closed();
        self.stdout = Outlet::closed();
        self.stderr = None;
        self.kill_at = Some(Instant::now() + GRACE);
        self
    }

    /// Whether nothing is left of a command that was ended.
    pub(super) fn is_gone(&mut self, now: Instant) -> bool {
        self.reap();
        let late = self.kill_at.is_none_or(|at| now >= at);
        if late {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        self.exit.is_some() && (late || test_kill_process_group(self.pid).is_err())
    }
}
