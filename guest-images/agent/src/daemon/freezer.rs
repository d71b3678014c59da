//! Frozen file systems: a lease with a deadline, in a thread of its own.
//!
//! FIFREEZE may take as long as the disk needs for what is dirty, and the loop must go on
//! meanwhile. The thread holds an open descriptor of each frozen file system and thaws them all
//! at the deadline, at the host's word, when the channel of the freeze is closed, and when the
//! daemon ends. A daemon that was killed in between is started again by init and thaws what it
//! finds: [`thaw_leftovers`].
//!
//! While something is frozen nothing here writes to a file or a log.

use super::{Answers, mounts};
use crate::message::{Failure, FailureKind, Reply};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// `FIFREEZE` and `FITHAW` of linux/fs.h: `_IOWR('X', 119 | 120, int)`.
const FIFREEZE: libc::c_ulong = 0xc004_5877;
const FITHAW: libc::c_ulong = 0xc004_5878;
/// Longest lease: a host that asks for more gets this.
const LONGEST: Duration = Duration::from_secs(120);

enum Order {
    Freeze {
        channel: u16,
        until: Instant,
    },
    Thaw {
        channel: u16,
    },
    /// This channel (or every one) is gone: so is its lease.
    Release {
        channel: Option<u16>,
    },
}

/// The thread's front.
#[derive(Debug)]
pub(super) struct Freezer {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Freezer {
    pub(super) fn start(answers: Answers) -> io::Result<Freezer> {
        let (orders, receiver) = mpsc::channel();
        let mut work = Work { answers, lease: None };
        let thread = std::thread::Builder::new()
            .name("freezer".into())
            .spawn(move || work.run(&receiver))?;
        Ok(Freezer {
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    pub(super) fn freeze(&self, channel: u16, deadline_ms: u64) {
        let until = Instant::now() + Duration::from_millis(deadline_ms).min(LONGEST);
        self.order(Order::Freeze { channel, until });
    }

    pub(super) fn thaw(&self, channel: u16) {
        self.order(Order::Thaw { channel });
    }

    pub(super) fn release(&self, channel: u16) {
        self.order(Order::Release {
            channel: Some(channel),
        });
    }

    pub(super) fn release_all(&self) {
        self.order(Order::Release { channel: None });
    }

    /// Thaws and ends the thread.
    pub(super) fn stop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Work {
    answers: Answers,
    lease: Option<Lease>,
}

struct Lease {
    channel: u16,
    until: Instant,
    frozen: Vec<OwnedFd>,
}

impl Lease {
    fn thaw(self) -> u32 {
        // In the opposite order: what lies below comes last, and is thawed first.
        let thawed = self.frozen.iter().rev().filter(|fd| ioctl(fd, FITHAW).is_ok());
        u32::try_from(thawed.count()).unwrap_or(u32::MAX)
    }
}

impl Work {
    fn run(&mut self, orders: &mpsc::Receiver<Order>) {
        loop {
            let left = self
                .lease
                .as_ref()
                .map(|lease| lease.until.saturating_duration_since(Instant::now()));
            let order = match left {
                Some(left) => orders.recv_timeout(left),
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(Order::Freeze { channel, until }) => {
                    let reply = self.freeze(channel, until);
                    self.answers.give(channel, reply, None);
                }
                Ok(Order::Thaw { channel }) => {
                    let count = self.end();
                    self.answers.give(channel, Reply::Thawed { count }, None);
                }
                Ok(Order::Release { channel }) => {
                    let held = self.lease.as_ref().map(|lease| lease.channel);
                    if held.is_some_and(|held| channel.is_none_or(|channel| channel == held)) {
                        self.end();
                    }
                }
                Err(RecvTimeoutError::Timeout) => drop(self.end()),
                Err(RecvTimeoutError::Disconnected) => {
                    self.end();
                    return;
                }
            }
        }
    }

    fn end(&mut self) -> u32 {
        self.lease.take().map_or(0, Lease::thaw)
    }

    fn freeze(&mut self, channel: u16, until: Instant) -> Reply {
        if self.lease.is_some() {
            return failed(FailureKind::Busy, "the file systems are frozen already".into());
        }
        // Most of the work, while everything still runs.
        rustix::fs::sync();
        let mountinfo = match std::fs::read("/proc/self/mountinfo") {
            Ok(text) => text,
            Err(e) => {
                return failed(
                    FailureKind::System,
                    format!("cannot read /proc/self/mountinfo: {e}"),
                );
            }
        };
        let mut lease = Lease {
            channel,
            until,
            frozen: Vec::new(),
        };
        for point in mounts::block_backed(&mountinfo).iter().rev() {
            match freeze_one(point) {
                Ok(fd) => lease.frozen.extend(fd),
                Err(e) => {
                    lease.thaw();
                    return failed(
                        FailureKind::Freeze,
                        format!("cannot freeze {}: {e}", point.display()),
                    );
                }
            }
            if Instant::now() >= until {
                lease.thaw();
                return failed(
                    FailureKind::Freeze,
                    "freezing took longer than its deadline".into(),
                );
            }
        }
        let count = u32::try_from(lease.frozen.len()).unwrap_or(u32::MAX);
        self.lease = Some(lease);
        Reply::Frozen { count }
    }
}

/// None: it cannot be frozen at all, or somebody else has it frozen.
fn freeze_one(point: &Path) -> io::Result<Option<OwnedFd>> {
    let Ok(fd) = open(point) else { return Ok(None) }; // hidden under another mount
    match ioctl(&fd, FIFREEZE) {
        Ok(()) => Ok(Some(fd)),
        Err(Errno::OPNOTSUPP | Errno::BUSY) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Thaws what a killed agent may have left frozen.
pub(super) fn thaw_leftovers() {
    let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let points: Vec<PathBuf> = mounts::block_backed(&mountinfo);
    for fd in points.iter().filter_map(|point| open(point).ok()) {
        // What is not frozen says so (EINVAL).
        let _ = ioctl(&fd, FITHAW);
    }
}

fn open(point: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(
        point,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn ioctl(fd: &OwnedFd, request: libc::c_ulong) -> Result<(), Errno> {
    // SAFETY: fd is open; both requests take no argument that the kernel reads or writes.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, 0) };
    if result < 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(())
}

fn failed(kind: FailureKind, message: String) -> Reply {
    Reply::Error(Failure { kind, message })
}
