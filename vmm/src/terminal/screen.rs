//! One attachment's copy of what a console prints.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::EventfdFlags;

/// How far a reader may be behind before it misses something: much of a boot fits, and a guest that
/// floods its console costs no more than this for each who looks on.
pub const MAX_BEHIND: usize = 64 << 10;

/// What was printed and not read yet.
#[derive(Debug)]
pub struct Screen {
    printed: Mutex<Printed>,
    /// Readable while there is something to read.
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct Printed {
    bytes: VecDeque<u8>,
    /// Bytes that had no room since the last notice.
    missed: u64,
}

impl Screen {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            printed: Mutex::default(),
            wake: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Keeps a copy of `bytes`, or of as much as has room.
    pub(super) fn show(&self, bytes: &[u8]) {
        let mut printed = self.lock();
        let was_empty = printed.bytes.is_empty();
        // Who has missed something misses all until it has caught up: one gap, which is told.
        let room = if printed.missed == 0 {
            MAX_BEHIND.saturating_sub(printed.bytes.len())
        } else {
            0
        };
        let kept = bytes.get(..room).unwrap_or(bytes);
        printed.bytes.extend(kept);
        let missed = bytes.len().saturating_sub(kept.len());
        printed.missed = printed
            .missed
            .saturating_add(u64::try_from(missed).unwrap_or(u64::MAX));
        drop(printed);
        if was_empty {
            // A counter at its end is readable, which is all that is wanted.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    /// All that waits; a gap is told in its place.
    pub fn next(&self) -> Vec<u8> {
        // Before looking: what is shown after the look wakes again.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        let mut printed = self.lock();
        let mut bytes = Vec::from(std::mem::take(&mut printed.bytes));
        let missed = std::mem::take(&mut printed.missed);
        if missed > 0 {
            let notice = format!(
                "\r\n[{missed} bytes are missing here: the console printed faster than it was read]\r\n"
            );
            bytes.extend_from_slice(notice.as_bytes());
        }
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, Printed> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Screen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hazard_a_screen_that_nobody_reads_stays_small_and_tells_what_is_missing() {
        let screen = Screen::new().unwrap();
        for _ in 0..100 {
            screen.show(&[b'x'; 64 << 10]);
        }
        let seen = screen.next();
        assert!(seen.starts_with(&vec![b'x'; MAX_BEHIND]));
        let notice = String::from_utf8_lossy(&seen[MAX_BEHIND..]).into_owned();
        let missed = (100 << 16) - MAX_BEHIND;
        assert!(
            notice.contains(&format!("{missed} bytes are missing here")),
            "{notice}"
        );
        screen.show(b"caught up");
        assert_eq!(screen.next(), b"caught up");
        assert!(screen.next().is_empty());
    }
}
