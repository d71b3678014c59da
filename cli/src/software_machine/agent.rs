//! Short questions to the agent in the machine.

use super::Error;
use super::layout::{Layout, Socket};
use kiln_agent::client::{Agent, ExecRequest};
use std::time::Duration;

/// What a command in the machine printed, both streams, and how it ended.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: u8,
    pub(super) text: String,
}

fn connect(layout: &Layout) -> Result<Agent, Error> {
    let stream = layout
        .connect(Socket::Agent)
        .map_err(|e| Error::new(format!("the software machine's agent cannot be reached: {e}")))?;
    Ok(Agent::connect(stream))
}

/// Does the agent answer?
pub(super) fn hello(layout: &Layout, timeout: Duration) -> Result<(), Error> {
    connect(layout)?
        .hello(timeout)
        .map(drop)
        .map_err(|e| Error::new(e.to_string()))
}

/// Runs a command as root, at most for `timeout`.
pub(super) fn run(layout: &Layout, argv: &[&str], timeout: Duration) -> Result<Output, Error> {
    let failed = |e: kiln_agent::client::AgentError| Error::new(format!("the software machine: {e}"));
    let request = ExecRequest {
        argv: argv.iter().map(Into::into).collect(),
        env: vec![
            ("KILN_HOME".into(), super::inside::STORE.into()),
            ("KILN_ACCEL".into(), "kvm".into()),
        ],
        cwd: Some("/".into()),
        ..ExecRequest::default()
    };
    let captured = connect(layout)?
        .exec(request)
        .map_err(failed)?
        .capture(&[], timeout)
        .map_err(failed)?;
    let mut text = String::from_utf8_lossy(&captured.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&captured.stderr));
    Ok(Output {
        status: captured.status.code(),
        text: text.trim().to_owned(),
    })
}
