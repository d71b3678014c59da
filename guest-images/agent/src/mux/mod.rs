//! The host's end of the agent's port: one byte stream to the guest, one socket for everybody
//! who wants something of it.
//!
//! ```text
//!  kiln exec --+                    +--------+   PortWriter    +---------------+
//!  kiln exec --+-- agent.sock ----> |  Mux   | --------------> | virtio port   | <-> agent
//!  supervisor -+   (a connection    | thread | <-------------- | (or a socket) |
//!                   is a channel)   +--------+  from_guest     +---------------+
//!                                       ^ MuxHandle::call (freeze, thaw: the VMM itself)
//! ```
//!
//! Connections speak the frames of [`crate::frame`]; their channel field is not looked at. Nothing
//! is read from a connection before the guest's agent has been heard, so a client that connects
//! early just waits. What is held for a connection is bounded by its credit; one that sends more
//! than it was granted, or whose guest does, is dropped. When a connection ends, the guest is told
//! to close the channel and ends what runs there.
//!
//! The thread makes these system calls once it runs: poll/ppoll, accept4, recvfrom/read,
//! sendto/write, close, futex, clock_gettime, and what a [`PortWriter`] does.

mod channel;
#[cfg(fuzzing)]
mod fuzzing;
mod handle;
mod state;
mod thread;

#[cfg(fuzzing)]
pub use fuzzing::hear;
pub use handle::{CallError, MuxHandle};

use state::State;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Bytes on their way to the guest's port, for a device that takes them when the guest has room.
pub trait PortWriter: Send {
    /// Takes as many bytes as there is room for and says how many; never blocks. After `Ok(0)`
    /// (or `WouldBlock`) the device calls [`MuxHandle::guest_ready`] once there is room again.
    /// Any other error ends the mux.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
}

/// The multiplexer: a thread and the state that it shares with its handles. Dropping it ends the
/// thread and all connections.
#[derive(Debug)]
pub struct Mux {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Guards everything but the file descriptors of connections, which are the thread's own.
    /// Never held across a system call that waits.
    state: Mutex<State>,
    /// Signalled when an internal call has its answer.
    answered: Condvar,
    /// An eventfd: makes the thread look at the state again.
    wake: OwnedFd,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Fails only when the counter is full: the thread is then woken anyhow.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Mux {
    /// Serves `listener`; bytes for the guest go to `writer`, bytes from it come by
    /// [`MuxHandle::from_guest`].
    pub fn over_port(listener: UnixListener, writer: Box<dyn PortWriter>) -> io::Result<Mux> {
        Mux::start(listener, thread::Port::Writer(writer))
    }

    /// Serves `listener`; the guest's port is a connected stream socket (of a QEMU chardev, or of
    /// a test). The mux ends when that stream does.
    pub fn over_stream(listener: UnixListener, stream: OwnedFd) -> io::Result<Mux> {
        rustix::io::ioctl_fionbio(&stream, true)?;
        Mux::start(listener, thread::Port::Stream(stream))
    }

    fn start(listener: UnixListener, port: thread::Port) -> io::Result<Mux> {
        listener.set_nonblocking(true)?;
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(first_epoch())),
            answered: Condvar::new(),
            wake: rustix::event::eventfd(0, flags)?,
        });
        let looped = thread::Loop::new(Arc::clone(&shared), listener, port);
        let thread = std::thread::Builder::new()
            .name("agent-mux".into())
            .spawn(move || looped.run())?;
        Ok(Mux {
            shared,
            thread: Some(thread),
        })
    }

    /// A handle for the device and the VMM.
    pub fn handle(&self) -> MuxHandle {
        MuxHandle::new(Arc::clone(&self.shared))
    }

    /// Waits until the guest's stream has ended.
    pub fn wait(mut self) {
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed by it; there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        self.shared.lock().end();
        self.shared.wake();
        self.join();
    }
}

/// Different for each mux, so that the agent tells a new host from an old one.
fn first_epoch() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let nanos = u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap_or(1);
    (nanos ^ (u64::from(std::process::id()) << 40)) | 1
}

#[cfg(test)]
mod tests;
