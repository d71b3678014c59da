//! The threads of virtio devices, narrowed as they start.

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
            virtio::ThreadKind::Rng => ThreadKind::Rng,
        };
        if let Err(error) = super::confine(kind) {
            // A device thread must not serve a guest unconfined, and the guest not go on without it.
            tracing::error!("{error}");
            std::process::abort();
        }
    }
}
