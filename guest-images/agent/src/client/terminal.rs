//! The caller's own terminal while a command of the guest uses it.

use super::Size;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A terminal in raw mode: every key goes to the guest. Restored when dropped.
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Switches `terminal` to raw mode.
    pub fn enter(terminal: BorrowedFd<'_>) -> io::Result<RawMode> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Drain, &raw)?;
        Ok(RawMode {
            terminal: terminal.try_clone_to_owned()?,
            before,
        })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone (a hang-up); nothing can be restored then.
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

impl std::fmt::Debug for RawMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawMode").finish_non_exhaustive()
    }
}

impl Size {
    /// The size of this terminal, if it is one.
    pub fn of(terminal: impl AsFd) -> Option<Size> {
        let size = tcgetwinsize(terminal).ok()?;
        Some(Size {
            rows: size.ws_row,
            cols: size.ws_col,
        })
    }
}
