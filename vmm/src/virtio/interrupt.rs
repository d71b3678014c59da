//! The way from a device back to its driver.

use super::QueueError;

/// How a running device reaches its driver; made by the transport, callable from any thread.
pub trait Interrupt: Send + Sync {
    /// The used ring of `queue` has news.
    fn used_buffers(&self, queue: u16);
    /// The device configuration changed (5.x `config`); bumps the generation.
    fn config_changed(&self);
    /// The driver did what no driver may do: sets `DEVICE_NEEDS_RESET` (2.1.2) and says so once.
    fn needs_reset(&self, why: &QueueError);
}
