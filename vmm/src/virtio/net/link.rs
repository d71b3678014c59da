//! What is behind the card, and whether it is there.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::stream::Stream;
use crate::virtio::Guarded;
use crate::virtio::config_notice::ConfigNotice;

/// The cable: the task has it while it runs, and it outlives every start of the device.
pub(super) struct Link {
    /// Nothing: the other side has gone.
    pub(super) stream: Guarded<Option<Stream>>,
    is_up: AtomicBool,
    /// Has the driver look whether it is up.
    pub(super) notice: ConfigNotice,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("is_up", &self.is_up).finish()
    }
}

impl Link {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            stream: Guarded::new(Some(Stream::new(socket))),
            is_up: AtomicBool::new(true),
            notice: ConfigNotice::default(),
        }
    }

    /// Whether somebody is at the other end, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::SeqCst)
    }

    /// The other side has gone, or is not to be understood: nothing comes or goes from now on.
    pub(super) fn lose(&self, stream: &mut Option<Stream>, why: &io::Error) {
        *stream = None;
        self.is_up.store(false, Ordering::SeqCst);
        tracing::warn!(%why, "the network is gone: the guest's link is down");
        self.notice.tell();
    }
}
