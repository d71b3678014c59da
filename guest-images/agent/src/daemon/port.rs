//! The guest's end of the port: a virtio-console port, or a socket in its place.

use crate::PORT_NAME;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// How often a port whose host has left is looked at: it polls as hung up all the time.
pub(super) const RECONNECT: Duration = Duration::from_millis(100);

/// The open port.
#[derive(Debug)]
pub struct Port {
    fd: OwnedFd,
    /// A virtio port outlives its host's side; a socket does not.
    is_socket: bool,
    host_there: bool,
    piece: Vec<u8>,
}

/// What reading found.
pub(super) enum Read<'a> {
    Bytes(&'a [u8]),
    Nothing,
    /// The host closed its side; it may come back.
    HostLeft,
    /// The port does not exist any more.
    Gone,
}

/// The port's device node, once the kernel has it: by its name in sysfs, so that no udev rule is
/// needed.
pub fn find_port() -> Option<PathBuf> {
    for entry in std::fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim_end() == PORT_NAME {
            return Some(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    None
}

impl Port {
    /// Opens a port's device node. The kernel lets one process have it.
    pub fn open(path: &std::path::Path) -> io::Result<Port> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Port {
            fd,
            is_socket: false,
            host_there: true,
            piece: vec![0; 64 * 1024],
        })
    }

    /// A connected socket in place of a port.
    pub fn socket(fd: OwnedFd) -> io::Result<Port> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Port {
            fd,
            is_socket: true,
            host_there: true,
            piece: vec![0; 64 * 1024],
        })
    }

    /// What to poll; none while the host is away.
    pub(super) fn pollable(&self, flags: PollFlags) -> Option<BorrowedFd<'_>> {
        (self.host_there && !flags.is_empty()).then(|| self.fd.as_fd())
    }

    /// Writes what the port takes now. False: it is gone.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let mut written = 0;
        while self.host_there && written < out.len() {
            match rustix::io::write(&self.fd, out.get(written..).unwrap_or(&[])) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(bytes) => written += bytes,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NODEV | Errno::IO) => return Ok(false),
                Err(e) => return Err(e.into()),
            }
        }
        out.drain(..written);
        Ok(true)
    }

    pub(super) fn read(&mut self) -> io::Result<Read<'_>> {
        if !self.host_there {
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec::default()))?;
            self.host_there = !fds[0].revents().contains(PollFlags::HUP);
            return Ok(Read::Nothing);
        }
        match rustix::io::read(&self.fd, &mut self.piece[..]) {
            Ok(0) if self.is_socket => Ok(Read::Gone),
            Ok(0) => {
                self.host_there = false;
                Ok(Read::HostLeft)
            }
            Ok(bytes) => Ok(Read::Bytes(self.piece.get(..bytes).unwrap_or(&[]))),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Read::Nothing),
            Err(Errno::CONNRESET | Errno::NODEV | Errno::IO) => Ok(Read::Gone),
            Err(e) => Err(e.into()),
        }
    }
}
