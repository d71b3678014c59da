//! The guest's agent, by the socket in the instance's folder.

use crate::{Code, Error, Result};
use kiln_agent::client::{self, Agent};
use kiln_agent::message::ShutdownMode;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

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
