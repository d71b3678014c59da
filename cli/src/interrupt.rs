//! Signals that ask this program to end, for commands that have something to clean up first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Remembers the signal that came. The default catches nothing.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    came: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Catches hang-up, interrupt and terminate from now on, for the rest of this process' life.
    pub(crate) fn catch() -> std::io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let interrupt = Self::default();
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            let number = usize::try_from(signal).unwrap_or(0);
            signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.came), number)?;
        }
        Ok(interrupt)
    }

    /// The signal that came, if one did.
    pub(crate) fn came(&self) -> Option<u8> {
        match self.came.load(Ordering::SeqCst) {
            0 => None,
            signal => u8::try_from(signal).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_came_before_a_signal_did() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.came(), None);
        interrupt.came.store(15, Ordering::SeqCst);
        assert_eq!(interrupt.came(), Some(15));
    }
}
