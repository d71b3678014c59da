//! Flow control: credit for data, a channel and a direction at a time.
//!
//! Each side may send [`WINDOW`] bytes of data on a channel before the other grants more, which
//! it does as it uses them up. So a reader that stands still stops its own channel after one
//! window, never the stream, and what anyone must hold for a channel is bounded. A frame costs its
//! payload and its header: a stream of tiny frames holds no more memory than one of large ones.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::frame::HEADER;

/// Data that may be under way on one channel in one direction, in bytes.
pub const WINDOW: u32 = 256 * 1024;

/// The sender's half: what it may still send.
#[derive(Debug)]
pub struct SendWindow {
    left: u32,
}

impl Default for SendWindow {
    fn default() -> Self {
        SendWindow { left: WINDOW }
    }
}

impl SendWindow {
    /// Data that may be given to [`crate::frame::encode_data`] now, 0 for none. Half of the credit,
    /// since data full of resync markers is cut every 15 bytes.
    pub fn available(&self) -> usize {
        usize::try_from(self.left / 2).unwrap_or(0).saturating_sub(HEADER)
    }

    /// Frames of `bytes` in all, headers included, were written. False: more than was allowed.
    #[must_use]
    pub fn spend_encoded(&mut self, bytes: usize) -> bool {
        let left = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.left.checked_sub(bytes));
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// A frame with `payload` bytes was sent. False: that was more than was allowed.
    #[must_use]
    pub fn spend(&mut self, payload: usize) -> bool {
        self.spend_encoded(payload.saturating_add(HEADER))
    }

    /// The receiver granted `bytes` more. False: more than it ever took.
    #[must_use]
    pub fn grant(&mut self, bytes: u32) -> bool {
        let left = self.left.checked_add(bytes).filter(|left| *left <= WINDOW);
        self.left = left.unwrap_or(WINDOW);
        left.is_some()
    }
}

/// The receiver's half: what it has used up and not yet granted again.
#[derive(Debug, Default)]
pub struct ReceiveWindow {
    used: u32,
}

impl ReceiveWindow {
    /// A received frame with `payload` bytes was used up. Returns the grant to send, which is held
    /// back until it is worth a frame.
    pub fn used(&mut self, payload: usize) -> Option<u32> {
        self.used = self.used.saturating_add(cost(payload));
        if self.used < WINDOW / 4 {
            return None;
        }
        Some(std::mem::take(&mut self.used))
    }
}

fn cost(payload: usize) -> u32 {
    u32::try_from(payload.saturating_add(HEADER)).unwrap_or(u32::MAX)
}
