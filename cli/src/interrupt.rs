//! Signals that ask this program to end, for commands that have something to clean up first. One that this program
//! was started to ignore (`nohup`) asks nothing.

use crate::failure::Failure;
use kiln_agent::client::heeded;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Signals that ask a program to end.
const SIGNALS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// Remembers the signal that came. The default catches nothing.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    came: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Catches hang-up, interrupt and terminate from now on, for the rest of this process' life.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let interrupt = Self::default();
        for signal in heeded(&SIGNALS) {
            let number = usize::try_from(signal).unwrap_or(0);
            signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.came), number)
                .map_err(|error| uncaught(&error))?;
        }
        Ok(interrupt)
    }

    /// An error if a signal came: the command is interrupted.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.came().map_or(Ok(()), |signal| {
            Err(Failure {
                status: 128 + signal,
                ..Failure::new("interrupted")
            })
        })
    }

    /// The signal that came, if one did.
    pub(crate) fn came(&self) -> Option<u8> {
        match self.came.load(Ordering::SeqCst) {
            0 => None,
            signal => u8::try_from(signal).ok(),
        }
    }
}

/// Has this program do something at the first such signal, before it ends of it as it would have.
pub(crate) fn at_a_signal(last: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    at_the_first(move |signal| {
        last();
        if signal_hook::low_level::emulate_default_handler(signal).is_err() {
            std::process::exit(128 + signal);
        }
    })
}

/// Has this program do something at the first such signal, and else nothing: for who remembers it, too.
pub(crate) fn besides(does: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    at_the_first(|_| does())
}

fn at_the_first(does: impl FnOnce(i32) + Send + 'static) -> Result<(), Failure> {
    let mut signals =
        signal_hook::iterator::Signals::new(heeded(&SIGNALS)).map_err(|error| uncaught(&error))?;
    std::thread::spawn(move || signals.forever().next().map(does));
    Ok(())
}

/// Has a write beyond the largest file that this process may make (`ulimit -f`) fail, as one to a full disk does, and not
/// end it without a word.
pub(crate) fn survive_file_limit() -> Result<(), Failure> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
        .map(drop)
        .map_err(|error| uncaught(&error))
}

fn uncaught(error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot catch signals: {error}"))
}

#[cfg(test)]
impl Interrupt {
    /// As if `signal` had come.
    pub(crate) fn by(signal: usize) -> Self {
        let interrupt = Self::default();
        interrupt.came.store(signal, Ordering::SeqCst);
        interrupt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_came_before_a_signal_did() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.came(), None);
        assert_eq!(interrupt.check(), Ok(()));
        let interrupt = Interrupt::by(15);
        assert_eq!(interrupt.came(), Some(15));
        assert_eq!(interrupt.check().map_err(|failure| failure.status), Err(143));
    }
}
