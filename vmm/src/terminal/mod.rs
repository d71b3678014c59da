//! The guest's consoles as people use them: who looks on, and who types.
//!
//! ```text
//!  guest ──► TerminalOutput ──┬──► console.log
//!  (ttyS0, hvc0)              └──► Terminal ──► a Screen each ──► whoever is attached
//!  guest ◄── Keyboard ◄─────────── Terminal ◄──────────────────── whoever is attached
//! ```
//!
//! What the guest prints is copied to every [`Screen`] and never waits for one: a screen holds
//! [`screen::MAX_BEHIND`] bytes, and what comes while it is full is counted and lost to it, not to the
//! log. What is typed waits at the typist's side until the guest has room for it.
//!
//! Lock order: a terminal's list of screens, then a screen.

mod screen;
mod set;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub use screen::{MAX_BEHIND, Screen};
use set::Place;
pub use set::{AttachError, MAX_ATTACHED, Terminals};

use crate::console_log::ConsoleWriter;
pub use crate::virtio::console::TerminalSize;
use crate::virtio::console::{PortBackend, PortInput};

/// Where what is typed goes.
pub trait Keyboard: Send + Sync {
    /// Takes as many of `bytes` as the guest has room for, returns how many; never blocks.
    fn press(&self, bytes: &[u8]) -> usize;

    /// The terminal that is typed at has this size now. A console without a size ignores it.
    fn resize(&self, _size: TerminalSize) {}
}

impl Keyboard for PortInput {
    fn press(&self, bytes: &[u8]) -> usize {
        self.write(bytes)
    }

    fn resize(&self, size: TerminalSize) {
        PortInput::resize(self, size);
    }
}

/// One console of the guest.
pub struct Terminal {
    name: &'static str,
    keyboard: OnceLock<Box<dyn Keyboard>>,
    /// Guards who is attached.
    screens: Mutex<Vec<Arc<Screen>>>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Terminal {
    /// The console that the guest calls `name`, with nobody attached.
    pub fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            keyboard: OnceLock::new(),
            screens: Mutex::default(),
        })
    }

    /// The device's name in the guest.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Makes known where what is typed goes, once.
    pub fn connect(&self, keyboard: Box<dyn Keyboard>) {
        // The first stays: a console has one device.
        let _ = self.keyboard.set(keyboard);
    }

    /// Gives the guest as many of `bytes` as it has room for, returns how many.
    pub fn press(&self, bytes: &[u8]) -> usize {
        self.keyboard.get().map_or(0, |keyboard| keyboard.press(bytes))
    }

    /// Tells the guest the size of the terminal that is attached, where its console has one.
    pub fn resize(&self, size: TerminalSize) {
        if let Some(keyboard) = self.keyboard.get() {
            keyboard.resize(size);
        }
    }

    /// The guest printed `bytes`. Waits for nobody.
    pub fn show(&self, bytes: &[u8]) {
        for screen in self.screens().iter() {
            screen.show(bytes);
        }
    }

    fn screens(&self) -> MutexGuard<'_, Vec<Arc<Screen>>> {
        self.screens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A screen that a console's output is copied to, until this is dropped.
#[derive(Debug)]
pub struct Attached {
    terminal: Arc<Terminal>,
    screen: Arc<Screen>,
    _place: Place,
}

impl Attached {
    /// The console.
    pub fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// What it printed since.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.terminal
            .screens()
            .retain(|screen| !Arc::ptr_eq(screen, &self.screen));
    }
}

/// One console's output: to the log, and to who is attached.
#[derive(Debug)]
pub struct TerminalOutput {
    log: ConsoleWriter,
    terminal: Arc<Terminal>,
}

impl TerminalOutput {
    /// To `log` and to the screens of `terminal`.
    pub fn new(log: ConsoleWriter, terminal: Arc<Terminal>) -> Self {
        Self { log, terminal }
    }
}

impl Write for TerminalOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.terminal.show(bytes);
        self.log.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PortBackend for TerminalOutput {
    fn guest_wrote(&self, bytes: &[u8]) -> usize {
        self.terminal.show(bytes);
        self.log.guest_wrote(bytes)
    }
}
