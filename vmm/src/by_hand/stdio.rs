//! Standard input to the guest's serial port, and console ports to standard output.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::control::MachineControl;
use crate::legacy::serial::Serial;
use crate::machine::Remote;
use crate::virtio::console::PortBackend;

/// Ctrl-A: what follows is for the VMM.
const ESCAPE: u8 = 0x01;
/// How long to wait for a guest that does not read, before looking again.
const WAIT: Duration = Duration::from_secs(1);

/// A terminal that was made raw, for as long as this lives.
pub(super) struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn new() -> io::Result<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        super::tell(format_args!("hint: Ctrl-A X ends the machine\r\n"));
        Ok(Self(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Sends standard input to `serial` from a thread that ends with the input, or with the process.
pub(super) fn feed(serial: Arc<Serial>, machine: Arc<Remote>) -> io::Result<RawTerminal> {
    let terminal = RawTerminal::new()?;
    let is_terminal = terminal.0.is_some();
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut bytes = [0; 4096];
        let mut keys = Keys::default();
        while let Ok(len @ 1..) = io::stdin().read(&mut bytes) {
            let typed = bytes.get(..len).unwrap_or_default();
            if is_terminal {
                match keys.filter(typed) {
                    Some(typed) => send(&serial, &typed),
                    None => return machine.kill("ended from the terminal"),
                }
            } else {
                send(&serial, typed);
            }
        }
    })?;
    Ok(terminal)
}

fn send(serial: &Serial, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let taken = serial.receive(bytes);
        bytes = bytes.get(taken..).unwrap_or_default();
        if taken == 0 {
            serial.wait_for_room(WAIT);
        }
    }
}

/// Finds the VMM's own keys in what is typed.
#[derive(Default)]
struct Keys {
    escaped: bool,
}

impl Keys {
    /// What is for the guest; none if the machine is to end. Ctrl-A twice sends one.
    fn filter(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut guest = Vec::with_capacity(typed.len());
        for &key in typed {
            match (std::mem::take(&mut self.escaped), key) {
                (false, ESCAPE) => self.escaped = true,
                (true, b'x' | b'X') => return None,
                (true, ESCAPE) | (false, _) => guest.push(key),
                (true, other) => guest.extend([ESCAPE, other]),
            }
        }
        Some(guest)
    }
}

/// A console port's other side: standard output.
pub(super) struct Output;

impl PortBackend for Output {
    fn guest_wrote(&self, bytes: &[u8]) -> usize {
        let mut stdout = io::stdout().lock();
        // A closed output loses what the guest says; the guest must not stop for it.
        let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
        bytes.len()
    }
}

/// The other side of a port that nobody listens to.
pub(super) struct Nowhere;

impl PortBackend for Nowhere {
    fn guest_wrote(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_reach_the_guest_but_for_the_escape() {
        let mut keys = Keys::default();
        assert_eq!(keys.filter(b"ls\r"), Some(b"ls\r".to_vec()));
        assert_eq!(keys.filter(b"\x01\x01"), Some(b"\x01".to_vec()));
        assert_eq!(keys.filter(b"\x01b"), Some(b"\x01b".to_vec()));
        assert_eq!(keys.filter(b"a\x01"), Some(b"a".to_vec()));
        assert_eq!(keys.filter(b"x"), None, "the escape was in the bytes before");
    }
}
