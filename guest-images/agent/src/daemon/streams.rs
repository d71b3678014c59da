//! The agent's ends of a command's streams.

use crate::frame::{Kind, MAX_PAYLOAD, encode_data};
use crate::window::SendWindow;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// After its command's end, a terminal that was silent for so long has nothing more to say.
const QUIET: Duration = Duration::from_millis(50);
/// Bytes taken of a terminal after its command's end, though others still write to it.
const TERMINAL_REST: usize = 64 * 1024;

/// Output on its way out: a pipe's end, or a terminal.
#[derive(Debug)]
pub(super) struct Outlet {
    kind: Kind,
    fd: Option<OwnedFd>,
    /// After the command's end: how much of what is there belongs to it. What its background
    /// children write later does not, else they would hold up the end.
    rest: Option<usize>,
    quiet_at: Option<Instant>,
    is_terminal: bool,
}

impl Outlet {
    pub(super) fn pipe(kind: Kind, fd: OwnedFd) -> Outlet {
        Outlet {
            kind,
            fd: Some(fd),
            rest: None,
            quiet_at: None,
            is_terminal: false,
        }
    }

    pub(super) fn terminal(fd: OwnedFd) -> Outlet {
        Outlet {
            is_terminal: true,
            ..Outlet::pipe(Kind::Stdout, fd)
        }
    }

    pub(super) fn closed() -> Outlet {
        Outlet {
            kind: Kind::Stdout,
            fd: None,
            rest: None,
            quiet_at: None,
            is_terminal: false,
        }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// The command has ended: only what it wrote is still read.
    pub(super) fn command_ended(&mut self, now: Instant) {
        let Some(fd) = &self.fd else { return };
        if self.is_terminal {
            // Between the last write and the master's end lies a work queue of the kernel, so what
            // is readable now is not all. The terminal's last user gone, reading ends with EIO.
            self.rest = Some(TERMINAL_REST);
            self.quiet_at = Some(now + QUIET);
        } else {
            let left = readable(fd);
            self.rest = Some(left);
            if left == 0 {
                self.fd = None;
            }
        }
    }

    /// When to read again although nothing comes.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        self.quiet_at.filter(|_| self.fd.is_some())
    }

    /// Nothing more will come.
    pub(super) fn is_done(&self) -> bool {
        self.fd.is_none()
    }

    /// Reads once, as much as the window allows, into frames.
    pub(super) fn read(&mut self, channel: u16, window: &mut SendWindow, out: &mut Vec<u8>) {
        let Some(fd) = &self.fd else { return };
        let room = window
            .available()
            .min(MAX_PAYLOAD)
            .min(self.rest.unwrap_or(MAX_PAYLOAD));
        if room == 0 {
            return;
        }
        let mut piece = [0; MAX_PAYLOAD];
        match rustix::io::read(fd, &mut piece[..room]) {
            Ok(0) => self.fd = None,
            Ok(bytes) => {
                let start = out.len();
                encode_data(out, channel, self.kind, &piece[..bytes]);
                // Within the window, since no more than `available` was read.
                let _within = window.spend_encoded(out.len() - start);
                if let Some(rest) = &mut self.rest {
                    *rest = rest.saturating_sub(bytes);
                    if *rest == 0 {
                        self.fd = None;
                    }
                }
                if self.quiet_at.is_some() {
                    self.quiet_at = Some(Instant::now() + QUIET);
                }
            }
            // Only who reads hears that it is silent: time without a window does not count.
            Err(Errno::AGAIN) if self.quiet_at.is_some_and(|at| Instant::now() >= at) => self.fd = None,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.fd = None, // EIO: the terminal's last user is gone
        }
    }
}

fn readable(fd: &OwnedFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: fd is open, and FIONREAD writes one int to the address that it is given.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &mut bytes) };
    if result < 0 {
        0
    } else {
        usize::try_from(bytes).unwrap_or(0)
    }
}

/// Input on its way in.
#[derive(Debug)]
pub(super) struct Inlet {
    fd: Option<OwnedFd>,
    waiting: VecDeque<Vec<u8>>,
    written: usize,
    ended: bool,
    is_terminal: bool,
}

impl Inlet {
    pub(super) fn pipe(fd: OwnedFd) -> Inlet {
        Inlet {
            fd: Some(fd),
            waiting: VecDeque::new(),
            written: 0,
            ended: false,
            is_terminal: false,
        }
    }

    pub(super) fn terminal(fd: OwnedFd) -> Inlet {
        Inlet {
            is_terminal: true,
            ..Inlet::pipe(fd)
        }
    }

    pub(super) fn closed() -> Inlet {
        Inlet {
            fd: None,
            waiting: VecDeque::new(),
            written: 0,
            ended: true,
            is_terminal: false,
        }
    }

    /// The terminal's master, for its size and its foreground group.
    pub(super) fn master(&self) -> Option<&OwnedFd> {
        self.fd.as_ref().filter(|_| self.is_terminal)
    }

    /// What to poll for writing: nothing while there is nothing to write.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd
            .as_ref()
            .filter(|_| !self.waiting.is_empty())
            .map(AsFd::as_fd)
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !self.ended && !bytes.is_empty() {
            self.waiting.push_back(bytes.to_vec());
        }
    }

    pub(super) fn end(&mut self) {
        if !self.ended {
            if self.is_terminal {
                self.waiting.push_back(vec![4]); // end of file, as ^D types it
            }
            self.ended = true;
        }
    }

    /// Writes what the command takes; `used` is told of each payload that is done with.
    pub(super) fn write(&mut self, mut used: impl FnMut(usize)) {
        while let Some(front) = self.waiting.front() {
            if let Some(fd) = &self.fd {
                match rustix::io::write(fd, front.get(self.written..).unwrap_or(&[])) {
                    Ok(bytes) => self.written += bytes,
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => return,
                    Err(_) => self.fd = None, // nobody reads: the rest is dropped
                }
            }
            if self.fd.is_none() || self.written >= front.len() {
                used(front.len());
                self.waiting.pop_front();
                self.written = 0;
            }
        }
        if self.ended && !self.is_terminal {
            self.fd = None;
        }
    }
}
