//! A card of a machine's spec, and how its other side is reached.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::MacAddress;

/// A network card. A machine has one at most: its slot is its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetSpec {
    /// Its address.
    pub mac: MacAddress,
    /// The most bytes that a frame carries, as the guest is told; at least [`MIN_MTU`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The stream socket of whoever takes its frames: passt (`passt --socket`), or QEMU's `-netdev stream,server=on`.
    pub socket: PathBuf,
}

/// The least MTU: what every IPv4 link carries (RFC 791, and 5.1.4.1 of virtio).
pub const MIN_MTU: u16 = 68;

/// Nobody takes the frames.
#[derive(Debug, thiserror::Error)]
#[error("network: cannot connect to {path}: {source}", path = path.display())]
pub struct ConnectError {
    /// The socket.
    pub path: PathBuf,
    /// What the host answered.
    pub source: io::Error,
}

impl NetSpec {
    /// Connects to the other side; a relative path is taken from `directory`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(&self, directory: &Path) -> Result<OwnedFd, ConnectError> {
        let path = directory.join(&self.socket);
        match UnixStream::connect(&path) {
            Ok(stream) => Ok(stream.into()),
            Err(source) => Err(ConnectError { path, source }),
        }
    }
}
