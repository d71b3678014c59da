//! The guest's agent, by the socket in the instance's folder.

use crate::{Code, Error, Result};
use kiln_agent::client::Agent;
use kiln_agent::message::ShutdownMode;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Connects to the socket of an instance's agent.
///
/// The folder is opened and the socket named through it: an address of a socket has at most 108 bytes (`sun_path`,
/// unix(7)), and a home's path may be longer.
pub(crate) fn connect(dir: &Path) -> Result<UnixStream> {
    let connecting = |error| Error::caused(Code::IncorrectInstanceState, "reach the guest's agent", error);
    let folder = std::fs::File::open(dir).map_err(connecting)?;
    UnixStream::connect(format!("/proc/self/fd/{}/agent.sock", folder.as_raw_fd())).map_err(connecting)
}

/// Asks the guest to end or to begin anew; `Ok` means that its agent does so.
pub(crate) fn shut_down(dir: &Path, mode: ShutdownMode, patience: Duration) -> Result<()> {
    Agent::connect(connect(dir)?)
        .shutdown(mode, patience)
        .map_err(|error| Error::internal("ask the guest's agent", error))
}
