//! The threads of virtio devices and of the agent's mux, narrowed as they start.

use std::io;

use kiln_agent::mux::PortWriter;

use super::ThreadKind;
use crate::virtio;

/// Hands each device thread to [`super::confine`].
#[derive(Debug, Clone, Copy, Default)]
pub struct DeviceThreads;

impl virtio::ThreadSetup for DeviceThreads {
    fn enter(&self, kind: virtio::ThreadKind) {
        let kind = match kind {
            virtio::ThreadKind::Block => ThreadKind::Block,
            virtio::ThreadKind::Console => ThreadKind::Console,
            virtio::ThreadKind::Net => ThreadKind::Net,
            virtio::ThreadKind::Rng => ThreadKind::Rng,
            virtio::ThreadKind::Balloon => ThreadKind::Balloon,
        };
        if let Err(error) = super::confine(kind) {
            // A device thread must not serve a guest unconfined, and the guest not go on without it.
            tracing::error!("{error}");
            std::process::abort();
        }
    }
}

/// The writing end of the agent's port, for the mux: its thread is narrowed at its first write,
/// which is its greeting of the agent, before anybody is served.
#[derive(Debug)]
pub struct ConfinedPort<W> {
    writer: W,
    is_confined: bool,
}

impl<W> ConfinedPort<W> {
    /// Wraps `writer`.
    pub fn new(writer: W) -> Self {
        Self {
            writer,
            is_confined: false,
        }
    }
}

impl<W: PortWriter> PortWriter for ConfinedPort<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_confined {
            super::confine(ThreadKind::Console).map_err(io::Error::other)?;
            self.is_confined = true;
        }
        self.writer.write(bytes)
    }
}
