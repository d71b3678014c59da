//! One client's connection: a request, its answer, the next request.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::lines::{Line, LineError, Lines};
use super::wire::{Reply, Request, VERSION};
use super::{Call, Context, ControlError, ErrorKind, VERBS, console};
use crate::terminal::Attached;

/// How long a client may say nothing: it holds one of a few places.
const IDLE: Duration = Duration::from_secs(600);
/// How long it may take to finish a line it began, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one that is turned away may take to say what it wants.
const PATIENCE_AT_THE_DOOR: Duration = Duration::from_secs(1);

/// Serves the client until it goes or breaks the rules.
pub(super) fn serve(stream: UnixStream, context: &Context) {
    let mut lines = Lines::new(stream);
    loop {
        let mut attached = None;
        let reply = match lines.read(IDLE, PATIENCE) {
            Ok(line) => answer(line, &lines, context, &mut attached),
            Err(LineError::Closed | LineError::Deadline | LineError::Io(_)) => return,
            Err(error) => {
                // The rest of the line cannot be told from a next one: say so and part.
                let error = ControlError::new(ErrorKind::Malformed, error.to_string());
                let _ = send(
                    &mut lines,
                    &Reply {
                        id: 0,
                        ok: None,
                        error: Some(error),
                    },
                );
                return;
            }
        };
        if send(&mut lines, &reply).is_err() {
            return;
        }
        if let Some(attached) = attached {
            let (stream, typed) = lines.into_stream();
            return console::serve(&stream, typed, &attached);
        }
    }
}

/// Tells a client that there is no place for it, once it has asked: a connection that is closed
/// under its request would look to it like a machine that died.
pub(super) fn turn_away(stream: UnixStream, message: &str) {
    let mut lines = Lines::new(stream);
    let request = lines.read(PATIENCE_AT_THE_DOOR, PATIENCE_AT_THE_DOOR);
    if matches!(request, Err(LineError::Closed)) {
        return;
    }
    let refusal = Reply {
        id: 0,
        ok: None,
        error: Some(ControlError::new(ErrorKind::Busy, message)),
    };
    // Who does not take the answer misses it.
    let _ = send(&mut lines, &refusal);
}

fn send(lines: &mut Lines, reply: &Reply) -> Result<(), LineError> {
    let text = serde_json::to_vec(reply).map_err(std::io::Error::from)?;
    lines.write(&text, &[], PATIENCE)
}

fn answer(line: Line, lines: &Lines, context: &Context, attached: &mut Option<Attached>) -> Reply {
    let request: Request = match serde_json::from_slice(&line.text) {
        Ok(request) => request,
        Err(error) => {
            let error = ControlError::new(ErrorKind::Malformed, format!("not a request: {error}"));
            return Reply {
                id: 0,
                ok: None,
                error: Some(error),
            };
        }
    };
    let id = request.id;
    match call(request, line, lines, context, attached) {
        Ok(value) => Reply {
            id,
            ok: Some(value),
            error: None,
        },
        Err(error) => Reply {
            id,
            ok: None,
            error: Some(error),
        },
    }
}

fn call(
    request: Request,
    line: Line,
    lines: &Lines,
    context: &Context,
    attached: &mut Option<Attached>,
) -> Result<Value, ControlError> {
    if request.v != VERSION {
        let message = format!("version {} is not spoken here, {VERSION} is", request.v);
        return Err(ControlError::new(ErrorKind::Version, message));
    }
    let Some(&(_, verb)) = VERBS.iter().find(|&&(name, _)| name == request.verb) else {
        let message = format!("there is no verb `{}`", request.verb.escape_debug());
        return Err(ControlError::new(ErrorKind::UnknownVerb, message));
    };
    let caller = lines.stream().as_fd();
    verb(Call {
        context,
        args: request.args,
        descriptors: line.descriptors,
        caller,
        attached,
    })
}
