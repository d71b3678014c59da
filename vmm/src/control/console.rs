//! `console.attach` and `console.resize`: a guest's console, for whoever wants to type at it.
//!
//! After the answer to `console.attach` the connection carries no more lines: what the guest prints
//! comes from it as it is, and what is written to it is typed. It ends when either side closes it, or
//! with the machine.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::lines::timespec;
use super::wire::{AttachArgs, AttachReply, ResizeArgs};
use super::{Call, ControlError, ErrorKind};
use crate::terminal::{AttachError, Attached, TerminalSize, Terminals};

/// How often a guest that had no room for what is typed is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// Typed at a time: more stays in the socket until the guest has taken it.
const TYPED: usize = 4096;

/// Attaches the caller to a console: the connection becomes its stream after the answer.
pub(super) fn attach(call: Call<'_>) -> Result<Value, ControlError> {
    let (args, terminals): (AttachArgs, _) = call.console()?;
    let attached = terminals
        .attach(args.console.as_deref())
        .map_err(|error| refused(&error))?;
    let reply = AttachReply {
        console: attached.terminal().name().to_owned(),
    };
    *call.attached = Some(attached);
    serde_json::to_value(reply).map_err(|error| ControlError::new(ErrorKind::Internal, error.to_string()))
}

/// Tells the guest the size of the terminal that is attached; a console without one ignores it.
pub(super) fn resize(call: Call<'_>) -> Result<Value, ControlError> {
    let (args, terminals): (ResizeArgs, _) = call.console()?;
    let terminal = terminals
        .find(args.console.as_deref())
        .map_err(|error| refused(&error))?;
    terminal.resize(TerminalSize {
        rows: args.rows,
        cols: args.cols,
    });
    Ok(Value::Null)
}

fn refused(error: &AttachError) -> ControlError {
    let kind = match error {
        AttachError::NoSuchConsole { .. } => ErrorKind::NoSuchConsole,
        AttachError::Full => ErrorKind::Busy,
        AttachError::Host(_) => ErrorKind::Internal,
    };
    ControlError::new(kind, error.to_string())
}

impl Call<'_> {
    /// The arguments of a verb about consoles, and the machine's.
    fn console<T: DeserializeOwned>(&self) -> Result<(T, std::sync::Arc<Terminals>), ControlError> {
        let malformed = |message: String| ControlError::new(ErrorKind::Malformed, message);
        if !self.descriptors.is_empty() {
            return Err(malformed("this verb takes no descriptors".to_owned()));
        }
        let args = serde_json::from_value(self.args.clone()).map_err(|error| malformed(error.to_string()))?;
        let terminals = self.context.machine.terminals().ok_or_else(|| {
            ControlError::new(
                ErrorKind::NoSuchConsole,
                "this machine has no consoles to attach to",
            )
        })?;
        Ok((args, terminals))
    }
}

/// Copies both ways until the caller goes. `typed` came with the request. Who does not read does not
/// hold up the guest, and a guest that does not read holds up nobody but who types.
pub(super) fn serve(stream: &UnixStream, mut typed: Vec<u8>, attached: &Attached) {
    let (terminal, screen) = (attached.terminal(), attached.screen());
    let mut printed: Vec<u8> = Vec::new();
    loop {
        let taken = terminal.press(&typed);
        typed.drain(..taken.min(typed.len()));
        if printed.is_empty() {
            printed = screen.next();
        }
        match send(stream, &printed) {
            Some(sent) => drop(printed.drain(..sent)),
            None => return,
        }
        if typed.is_empty() {
            match receive(stream) {
                Some(bytes) => typed = bytes,
                None => return,
            }
            if !typed.is_empty() {
                continue;
            }
        }
        if wait(stream, screen.as_fd(), &typed, &printed).is_err() {
            return;
        }
    }
}

/// What was sent at once; nothing if nobody is there any more.
fn send(stream: &UnixStream, bytes: &[u8]) -> Option<usize> {
    if bytes.is_empty() {
        return Some(0);
    }
    match rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(sent) => Some(sent),
        Err(Errno::AGAIN | Errno::INTR) => Some(0),
        Err(_) => None,
    }
}

/// What was typed; nothing if nobody is there any more.
fn receive(stream: &UnixStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; TYPED];
    match rustix::net::recv(stream, &mut *bytes, RecvFlags::DONTWAIT) {
        Ok((0, _)) => None,
        Ok((count, _)) => {
            bytes.truncate(count);
            Some(bytes)
        }
        Err(Errno::AGAIN | Errno::INTR) => Some(Vec::new()),
        Err(_) => None,
    }
}

/// Waits until there is something to do: the caller types or hangs up, the guest prints or may have
/// room again.
fn wait(stream: &UnixStream, screen: impl AsFd, typed: &[u8], printed: &[u8]) -> Result<(), Errno> {
    let mut events = PollFlags::empty();
    if typed.is_empty() {
        events |= PollFlags::IN;
    }
    if !printed.is_empty() {
        events |= PollFlags::OUT;
    }
    let mut stream = [PollFd::new(stream, events), PollFd::new(&screen, PollFlags::IN)];
    // While the caller takes nothing there is no use in looking for more.
    let again = (!typed.is_empty()).then(|| timespec(ASK_AGAIN));
    let [caller, _] = &mut stream;
    let polled = if printed.is_empty() {
        rustix::event::poll(&mut stream, again.as_ref())
    } else {
        rustix::event::poll(std::slice::from_mut(caller), again.as_ref())
    };
    let [caller, _] = &stream;
    match polled {
        // What is typed and not taken has nobody any more who waits for it.
        Ok(_) if caller.revents().contains(PollFlags::HUP) && !typed.is_empty() => Err(Errno::PIPE),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
