//! The guest's agent, by the socket in the instance's folder.

use crate::{Code, Error, Result};
use kiln_agent::client::{self, Agent, ExecRequest};
use kiln_agent::message::ShutdownMode;
use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Says what a guest does with the disk whose serial is its argument.
const USE_OF_DISK: &str = include_str!("use_of_disk.sh");

/// Connects to the socket of an instance's agent.
pub(crate) fn connect(dir: &Path) -> Result<UnixStream> {
    client::open_socket(dir)
        .map_err(|error| Error::caused(Code::IncorrectInstanceState, "reach the guest's agent", error))
}

/// Asks the guest to end or to begin anew; `Ok` means that its agent does so.
pub(crate) fn shut_down(dir: &Path, mode: ShutdownMode, patience: Duration) -> Result<()> {
    Agent::connect(connect(dir)?)
        .shutdown(mode, patience)
        .map_err(|error| Error::internal("ask the guest's agent", error))
}

/// What a guest does with the disk of this serial: a line for people, none if nothing or if the guest does not tell.
pub(crate) fn use_of_disk(dir: &Path, serial: &str, patience: Duration) -> Option<String> {
    let mut agent = Agent::connect(connect(dir).ok()?);
    agent.hello(patience).ok()?;
    let request = ExecRequest {
        argv: ["sh", "-c", USE_OF_DISK, "sh", serial].map(OsString::from).into(),
        ..ExecRequest::default()
    };
    let said = agent.exec(request).ok()?.capture(&[], patience).ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let line: String = said
        .lines()
        .next()?
        .chars()
        .filter(|c| !c.is_control())
        .take(256)
        .collect();
    (!line.is_empty()).then_some(line)
}
