//! All consoles of a machine: which one a login waits at, and how many are attached.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Attached, Screen, Terminal};

/// How many may be attached to a machine's consoles at once: each holds one of the control socket's
/// places, of which others must be left.
pub const MAX_ATTACHED: usize = 8;

/// Why nobody can be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such console.
    #[error("there is no console `{}`: this machine has {there}", .name.escape_debug())]
    NoSuchConsole {
        /// What was asked for.
        name: String,
        /// What there is.
        there: String,
    },
    /// All places are taken.
    #[error("{MAX_ATTACHED} are attached to this machine's consoles already")]
    Full,
    /// No descriptor.
    #[error("the host gives no descriptor: {0}")]
    Host(#[from] io::Error),
}

/// All consoles of a machine.
#[derive(Debug, Default)]
pub struct Terminals {
    all: Vec<Arc<Terminal>>,
    /// Guards which of them the kernel calls its console.
    main: Mutex<Option<Arc<Terminal>>>,
    /// How many are attached.
    taken: Arc<AtomicUsize>,
}

impl Terminals {
    /// These; the first is the main one until [`booted`](Self::booted) says otherwise.
    pub fn new(all: Vec<Arc<Terminal>>) -> Self {
        Self {
            main: Mutex::new(all.first().cloned()),
            all,
            taken: Arc::default(),
        }
    }

    /// A kernel was started with the command line `cmdline`: the last console that it names is the one
    /// that `/dev/console` is, where a login waits.
    pub fn booted(&self, cmdline: &str) {
        let named = cmdline
            .split_ascii_whitespace()
            .filter_map(|word| word.strip_prefix("console="))
            .filter_map(|device| device.split(',').next())
            .filter_map(|device| self.all.iter().find(|terminal| terminal.name == device));
        if let Some(terminal) = named.last() {
            *self.main.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(terminal));
        }
    }

    /// The console `name`, or the main one.
    ///
    /// # Errors
    /// There is no such console.
    pub fn find(&self, name: Option<&str>) -> Result<Arc<Terminal>, AttachError> {
        let found = match name {
            Some(name) => self.all.iter().find(|terminal| terminal.name == name).cloned(),
            None => self.main.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.all.iter().map(|terminal| terminal.name).collect();
            AttachError::NoSuchConsole {
                name: name.unwrap_or("console").to_owned(),
                there: if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                },
            }
        })
    }

    /// Attaches a screen to the console `name`, or to the main one.
    ///
    /// # Errors
    /// There is no such console, or all places are taken.
    pub fn attach(&self, name: Option<&str>) -> Result<Attached, AttachError> {
        let terminal = self.find(name)?;
        let screen = Arc::new(Screen::new()?);
        let place = Place::take(&self.taken).ok_or(AttachError::Full)?;
        terminal.screens().push(Arc::clone(&screen));
        Ok(Attached {
            terminal,
            screen,
            _place: place,
        })
    }
}

/// One of [`MAX_ATTACHED`] places, given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(taken));
        (taken.fetch_add(1, Ordering::Relaxed) < MAX_ATTACHED).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Terminals {
        Terminals::new(vec![Terminal::new("ttyS0"), Terminal::new("hvc0")])
    }

    #[test]
    fn the_main_console_is_the_last_that_the_kernel_was_told() {
        let terminals = two();
        let main = || terminals.find(None).map(|terminal| terminal.name());
        assert!(matches!(main(), Ok("ttyS0")));
        terminals.booted("console=tty0 console=ttyS0,115200n8 console=hvc0 quiet");
        assert!(matches!(main(), Ok("hvc0")));
        terminals.booted("console=tty0 quiet");
        assert!(matches!(main(), Ok("hvc0")), "none of ours is named: it stays");
        terminals.booted("console=hvc0 console=ttyS0,115200n8");
        assert!(matches!(main(), Ok("ttyS0")));
        let refusal = terminals.find(Some("tty1")).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "there is no console `tty1`: this machine has ttyS0, hvc0"
        );
    }

    #[test]
    fn all_who_are_attached_see_what_is_printed_from_then_on() {
        let terminals = two();
        let terminal = terminals.find(Some("hvc0")).unwrap();
        terminal.show(b"before ");
        let (one, other) = (
            terminals.attach(Some("hvc0")).unwrap(),
            terminals.attach(Some("hvc0")).unwrap(),
        );
        let serial = terminals.attach(Some("ttyS0")).unwrap();
        terminal.show(b"after");
        for attached in [&one, &other] {
            assert_eq!(attached.screen().next(), b"after");
        }
        assert!(serial.screen().next().is_empty());
    }

    #[test]
    fn hazard_no_more_are_attached_than_there_are_places() {
        let terminals = two();
        let mut all: Vec<_> = (0..MAX_ATTACHED)
            .map(|n| terminals.attach(Some(["ttyS0", "hvc0"][n % 2])).unwrap())
            .collect();
        assert!(matches!(terminals.attach(None), Err(AttachError::Full)));
        all.pop();
        assert!(terminals.attach(None).is_ok(), "one has left");
    }
}
