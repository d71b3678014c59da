//! The caller's side of a command's streams: descriptors and signals.

use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a command's streams are copied from and to.
#[derive(Debug)]
pub struct Streams<'a> {
    /// Its input; none: it reads the end at once.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Its output (and its errors, when it runs on a terminal).
    pub stdout: BorrowedFd<'a>,
    /// Its errors.
    pub stderr: BorrowedFd<'a>,
    /// What becomes of the command when nobody reads its output any more.
    pub unread: Unread,
    /// Signals to hand on.
    pub signals: Option<&'a Signals>,
    /// The terminal whose changes of size are handed on at SIGWINCH.
    pub terminal: Option<BorrowedFd<'a>>,
    /// How long the command may take. It is then asked to end (SIGTERM), killed ten seconds later, and left alone
    /// another ten later, should its guest hang.
    pub at_most: Option<Duration>,
}

/// What becomes of a command whose standard output has lost its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is ended by what it prints next, and has the status of a broken pipe.
    BreaksPipe,
    /// It goes on, and what it prints is lost.
    GoesOn,
    /// It is ended at once, as if it were done: to be read is all that it is for.
    IsDone,
}

impl Streams<'static> {
    /// The process's own three.
    pub fn own() -> Streams<'static> {
        // SAFETY: descriptors 0 to 2 stay open for the life of the process: nothing of ours closes
        // them, and std keeps them open at the start.
        let fd = |number| unsafe { BorrowedFd::borrow_raw(number) };
        Streams {
            stdin: Some(fd(0)),
            stdout: fd(1),
            stderr: fd(2),
            unread: Unread::BreaksPipe,
            signals: None,
            terminal: None,
            at_most: None,
        }
    }
}

/// The signals of this process that a command shall get instead of it: hang-up, interrupt, quit,
/// terminate, the two of the user, and the terminal's change of size; not those that it was started
/// to ignore. Held back from the moment that it is made until it is dropped.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    caught: Vec<(i32, Arc<AtomicBool>)>,
    registered: Vec<signal_hook::SigId>,
}

impl Signals {
    /// The numbers that are caught, unless they are ignored.
    pub const CAUGHT: [i32; 7] = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGWINCH,
    ];

    /// Catches them from now on.
    pub fn catch() -> io::Result<Signals> {
        let (wake, write) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut signals = Signals {
            wake,
            caught: Vec::new(),
            registered: Vec::new(),
        };
        for signal in heeded(&Self::CAUGHT) {
            let flag = Arc::new(AtomicBool::new(false));
            // In this order: the flag is set by the time the byte is read.
            signals
                .registered
                .push(signal_hook::flag::register(signal, Arc::clone(&flag))?);
            signals.registered.push(signal_hook::low_level::pipe::register(
                signal,
                write.try_clone()?,
            )?);
            signals.caught.push((signal, flag));
        }
        Ok(signals)
    }

    /// Readable when a signal came.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// The signals that came since the last call.
    pub fn take(&self) -> Vec<i32> {
        let mut piece = [0; 64];
        while let Ok(1..) | Err(Errno::INTR) = rustix::io::read(&self.wake, &mut piece) {}
        let came = self
            .caught
            .iter()
            .filter(|(_, flag)| flag.swap(false, Ordering::SeqCst));
        came.map(|(signal, _)| *signal).collect()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Those of `signals` that this process was not started to ignore. `nohup`, and a script's `&`, have what they
/// start ignore hang-up or interrupt: who caught these all the same would end of them.
pub fn heeded(signals: &[i32]) -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status);
    let is_heeded = |signal: &i32| ignored >> (signal - 1) & 1 == 0;
    signals.iter().copied().filter(is_heeded).collect()
}

/// The set of signals that proc(5) says are ignored: bit 0 is signal 1.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_word_on_what_is_ignored_is_understood() {
        let hang_up_and_quit =
            "SigBlk:\t0000000000000003\nSigIgn:\t0000000000000005\nSigCgt:\t0000000000000002\n";
        assert_eq!(
            ignored(hang_up_and_quit),
            1 << (libc::SIGHUP - 1) | 1 << (libc::SIGQUIT - 1)
        );
        assert_eq!(ignored(""), 0);
    }
}
