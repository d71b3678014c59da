//! `kiln console INSTANCE`: sitting down at a guest's serial terminal.

use super::Context;
use crate::args::instance::Console;
use crate::failure::Failure;
use crate::output;
use kiln_agent::client::{RawMode, Signals, Size};
use kiln_control::{Cloud, InstanceId};
use kiln_vmm::client::{ClientError, ConsoleStream, TerminalSize};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::io::{ErrorKind, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// The most that is copied at a time, and that waits for a guest that takes nothing.
const PIECE: usize = 64 * 1024;

/// What ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The guest's machine is gone.
    Machine,
    /// The user left by the key, or went away with what the output went to.
    Left,
    /// A signal came.
    Signal(i32),
}

pub(crate) fn run(context: &Context, at: &Console) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    let instance = cloud.resolve_instance(&at.instance)?;
    let machine = cloud.connect_machine(&instance)?;
    let attached = machine
        .attach_console(at.port.as_deref())
        .map_err(|error| refused(&instance, &error))?;
    let signals = Signals::catch().map_err(|error| broken(&error))?;
    let input = std::io::stdin();
    let is_terminal = input.is_terminal();
    if is_terminal {
        let way_out = match at.escape.byte() {
            Some(_) => format!("{} leaves it", at.escape),
            None => "it ends with the instance".to_owned(),
        };
        context.hint(&format!(
            "this is {} of {}: {way_out}; press Enter if nothing shows",
            attached.console,
            instance.as_str()
        ));
    }
    let raw = is_terminal
        .then(|| RawMode::enter(input.as_fd()))
        .transpose()
        .map_err(|error| broken(&error))?;
    let sitting = Sitting {
        escape: at.escape.byte().filter(|_| is_terminal),
        size: || {
            if is_terminal {
                tell_size(&cloud, &instance, &attached.console);
            }
        },
        signals: &signals,
    };
    let end = sitting.copy(&attached);
    drop(raw);
    let end = end?;
    if is_terminal {
        // Where the guest left the cursor, nobody knows.
        output::aside("\n");
        match end {
            End::Machine => context.hint("the guest has ended"),
            End::Left => context.hint("the instance runs on"),
            End::Signal(_) => {}
        }
    }
    Ok(match end {
        End::Signal(number) => u8::try_from(128 + number).unwrap_or(1),
        End::Machine | End::Left => 0,
    })
}

/// The two directions, until one ends.
struct Sitting<'a, S: Fn()> {
    escape: Option<u8>,
    /// Tells the guest the terminal's size.
    size: S,
    signals: &'a Signals,
}

/// What there is to do.
#[derive(Debug, Clone, Copy)]
struct Ready {
    printed: bool,
    unread: bool,
    typed: bool,
    signal: bool,
}

impl<S: Fn()> Sitting<'_, S> {
    fn copy(&self, attached: &ConsoleStream) -> Result<End, Failure> {
        (self.size)();
        output::bytes(&attached.printed)?;
        let (mut piece, mut unsent, mut has_input) = (vec![0; PIECE], Vec::new(), true);
        loop {
            // Keys are read although the guest takes none: one of them is the way out.
            let reads = has_input && (unsent.is_empty() || self.escape.is_some());
            let ready = self.wait(&attached.stream, reads, !unsent.is_empty())?;
            if ready.signal
                && let Some(signal) = self.signal()
            {
                return Ok(End::Signal(signal));
            }
            if ready.unread {
                return Ok(End::Left);
            }
            if ready.printed {
                match (&attached.stream).read(&mut piece) {
                    Ok(0) => return Ok(End::Machine),
                    Ok(count) => output::bytes(piece.get(..count).unwrap_or_default())?,
                    // A machine that went without reading what was typed.
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(End::Machine),
                    Err(error) => return Err(broken(&error)),
                }
            }
            if ready.typed {
                match rustix::io::read(std::io::stdin(), &mut *piece) {
                    // The end of the input is not the guest's end: what it prints is still shown.
                    Ok(0) => has_input = false,
                    Ok(count) => {
                        let typed = piece.get(..count).unwrap_or_default();
                        if self.escape.is_some_and(|key| typed.contains(&key)) {
                            return Ok(End::Left);
                        }
                        // What a guest that takes nothing has no room for is lost, as at any terminal.
                        let room = PIECE.saturating_sub(unsent.len());
                        unsent.extend_from_slice(typed.get(..room).unwrap_or(typed));
                    }
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(broken(&errno.into())),
                }
            }
            if unsent.is_empty() {
                continue;
            }
            match rustix::net::send(
                &attached.stream,
                &unsent,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(sent) => drop(unsent.drain(..sent)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // What it printed last may still be readable.
                Err(_) => unsent.clear(),
            }
        }
    }

    fn wait(&self, stream: &UnixStream, reads: bool, writes: bool) -> Result<Ready, Failure> {
        let (input, output) = (std::io::stdin(), std::io::stdout());
        let of_stream = if writes {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        };
        let mut polled = vec![
            PollFd::new(stream, of_stream),
            PollFd::from_borrowed_fd(self.signals.wake(), PollFlags::IN),
            // That nobody reads any more is told unasked.
            PollFd::new(&output, PollFlags::empty()),
        ];
        if reads {
            polled.push(PollFd::new(&input, PollFlags::IN));
        }
        match rustix::event::poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(broken(&errno.into())),
        }
        let is =
            |at: usize, flags: PollFlags| polled.get(at).is_some_and(|fd| fd.revents().intersects(flags));
        let any = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        Ok(Ready {
            printed: is(0, any),
            signal: is(1, any),
            unread: is(2, any),
            typed: is(3, any),
        })
    }

    /// The signal that ends this, if one came.
    fn signal(&self) -> Option<i32> {
        let resized = rustix::process::Signal::WINCH.as_raw();
        let came = self.signals.take();
        if came.contains(&resized) {
            (self.size)();
        }
        came.into_iter().find(|&signal| signal != resized)
    }
}

/// Tells the guest how large the terminal here is, over a connection of its own.
fn tell_size(cloud: &Cloud, instance: &InstanceId, console: &str) {
    let Some(Size { rows, cols }) = Size::of(std::io::stdout()) else {
        return;
    };
    // A guest that was not told draws for another size; that is no reason to leave it.
    if let Ok(mut machine) = cloud.connect_machine(instance) {
        let _ = machine.resize_console(console, TerminalSize { rows, cols });
    }
}

fn refused(instance: &InstanceId, error: &ClientError) -> Failure {
    let message = match error {
        ClientError::Refused { message, .. } => message.clone(),
        other => other.to_string(),
    };
    Failure::coded(
        "IncorrectInstanceState",
        format!("{}: {message}", instance.as_str()),
    )
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(format!("the console broke off: {error}"))
}
