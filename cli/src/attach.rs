//! This process' own streams, terminal and signals, given to a command somewhere else: in a guest,
//! or in the software machine.

use kiln_agent::client::{
    Agent, AgentError, ExecRequest, ExecStatus, RawMode, Signals, Size, Streams, Terminal, Unread,
};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::Duration;

/// The terminal that a command there should get: one if all three streams are one here.
pub(crate) fn terminal() -> Option<Terminal> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    if !(input.is_terminal() && output.is_terminal() && error.is_terminal()) {
        return None;
    }
    let size = Size::of(&output)?;
    let term = std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned());
    Some(Terminal { size, term })
}

/// Whether the command there reads what this process is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// It does.
    Own,
    /// It reads nothing: the input is left to whoever shares it, such as the shell loop around this
    /// process. A command on a terminal has the terminal all the same.
    None,
}

/// Runs the command there until it ends, `at_most` that long; it gets the signals that came since they are caught.
pub(crate) fn run(
    agent: Agent,
    request: ExecRequest,
    reads: Input,
    unread: Unread,
    signals: &Signals,
    at_most: Option<Duration>,
) -> Result<ExecStatus, AgentError> {
    let input = std::io::stdin();
    let on_terminal = request.tty.is_some();
    let session = agent.exec(request)?;
    // Raw only now: what failed before printed its error on an ordinary terminal.
    let raw = if on_terminal {
        Some(RawMode::enter(input.as_fd())?)
    } else {
        None
    };
    let own = Streams::own();
    let streams = Streams {
        stdin: own.stdin.filter(|_| on_terminal || reads == Input::Own),
        unread,
        signals: Some(signals),
        terminal: on_terminal.then(|| input.as_fd()),
        at_most,
        ..own
    };
    let ended = session.run(streams);
    drop(raw);
    ended
}
