//! A split virtqueue (2.7) as a device sees it.
//!
//! Ring arithmetic is the `virtio-queue` crate's; this wrapper adds what a hostile driver calls for: the
//! chain is read by [`Chain`], the number of requests in flight never exceeds the queue's size, and the
//! first error is final until the device is reset.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::chain::Indirect;
use super::{Chain, EVENT_IDX, GuestMemory, INDIRECT_DESC, Interrupt, QueueError};

/// Bytes of the used ring before its entries: flags and index (2.7.8).
const USED_HEADER: u64 = 4;
/// Bytes of an entry: index of the first descriptor and bytes written, 32 bits each.
const USED_ENTRY: u64 = 8;

/// The plain state of a queue: what the driver set up and how far both sides are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueState {
    /// Entries; a power of two, at most the device's limit.
    pub size: u16,
    /// Guest address of the descriptor table, 16-byte aligned.
    pub descriptors: u64,
    /// Guest address of the available ring, 2-byte aligned.
    pub available: u64,
    /// Guest address of the used ring, 4-byte aligned.
    pub used: u64,
    /// Next entry of the available ring that the device takes.
    pub next_available: u16,
    /// Next entry of the used ring that the device fills.
    pub next_used: u16,
}

/// A ring with its memory and its way to interrupt.
pub struct VirtQueue {
    ring: Queue,
    index: u16,
    memory: GuestMemory,
    interrupt: Arc<dyn Interrupt>,
    indirect: Indirect,
    in_flight: u16,
    /// The ring does not know how many requests were completed since the driver was told.
    is_unsure: bool,
    broken: bool,
}

impl std::fmt::Debug for VirtQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtQueue")
            .field("index", &self.index)
            .field("ring", &self.ring)
            .finish()
    }
}

impl VirtQueue {
    /// Makes the queue that `state` describes.
    ///
    /// # Errors
    /// [`QueueError::RingsUnusable`]: size, alignment or place of the rings is impossible.
    pub fn new(
        index: u16,
        max_size: u16,
        state: &QueueState,
        memory: GuestMemory,
        interrupt: Arc<dyn Interrupt>,
        features: u64,
    ) -> Result<Self, QueueError> {
        let unusable = |_| QueueError::RingsUnusable { queue: index };
        let mut ring = Queue::new(max_size).map_err(unusable)?;
        ring.try_set_size(state.size).map_err(unusable)?;
        ring.try_set_desc_table_address(GuestAddress(state.descriptors))
            .map_err(unusable)?;
        ring.try_set_avail_ring_address(GuestAddress(state.available))
            .map_err(unusable)?;
        ring.try_set_used_ring_address(GuestAddress(state.used))
            .map_err(unusable)?;
        ring.set_next_avail(state.next_available);
        ring.set_next_used(state.next_used);
        ring.set_event_idx(features & EVENT_IDX != 0);
        ring.set_ready(true);
        if !ring.is_valid(&memory) || state.available == 0 {
            return Err(QueueError::RingsUnusable { queue: index });
        }
        let indirect = if features & INDIRECT_DESC != 0 {
            Indirect::Allowed
        } else {
            Indirect::Refused
        };
        Ok(Self {
            ring,
            index,
            memory,
            interrupt,
            indirect,
            in_flight: 0,
            is_unsure: false,
            broken: false,
        })
    }

    /// Takes the next request, if there is one. It must be given back by [`complete`](Self::complete).
    ///
    /// # Errors
    /// The driver broke the ring: told to it by [`Interrupt::needs_reset`]. From then on the queue is
    /// empty, so that a broken entry is looked at once and never again.
    pub fn pop(&mut self) -> Result<Option<Chain>, QueueError> {
        if self.broken {
            return Ok(None);
        }
        self.take().inspect_err(|error| self.breaks(error))
    }

    /// The same; where there is none, the driver's next one is announced by a kick.
    ///
    /// # Errors
    /// As of [`pop`](Self::pop), and of [`rearm`](Self::rearm).
    pub fn pop_or_rearm(&mut self) -> Result<Option<Chain>, QueueError> {
        match self.pop()? {
            None if self.rearm()? => self.pop(),
            popped => Ok(popped),
        }
    }

    fn take(&mut self) -> Result<Option<Chain>, QueueError> {
        let size = self.ring.size();
        let head = match self.ring.iter(&self.memory) {
            Ok(mut entries) => entries.next().map(|chain| chain.head_index()),
            Err(virtio_queue::Error::InvalidAvailRingIndex) => {
                return Err(QueueError::AvailableOverflow { size });
            }
            Err(error) => return Err(error.into()),
        };
        let Some(head) = head else { return Ok(None) };
        // Each request in flight occupies an entry; one more than there are is an entry used twice.
        if self.in_flight >= size {
            return Err(QueueError::AvailableOverflow { size });
        }
        let table = GuestAddress(self.ring.desc_table());
        let chain = Chain::read(&self.memory, table, size, head, self.indirect)?;
        self.in_flight = self.in_flight.saturating_add(1);
        Ok(Some(chain))
    }

    /// Gives a request back: `written` bytes of its writable part were filled, from its start on.
    ///
    /// # Errors
    /// The used ring is gone; told to the driver as in [`pop`](Self::pop).
    pub fn complete(&mut self, chain: &Chain, written: u32) -> Result<(), QueueError> {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.broken {
            return Ok(());
        }
        let done = self
            .ring
            .add_used(&self.memory, chain.head(), written)
            .map_err(QueueError::from);
        done.inspect_err(|error| self.breaks(error))
    }

    /// Gives several requests back at once: the driver sees all of them or none. Of each, with how many bytes of its
    /// writable part were filled.
    ///
    /// # Errors
    /// As of [`complete`](Self::complete).
    pub fn complete_together(&mut self, filled: &[(Chain, u32)]) -> Result<(), QueueError> {
        let Some(((last, written), before)) = filled.split_last() else {
            return Ok(());
        };
        for (chain, written) in before {
            self.in_flight = self.in_flight.saturating_sub(1);
            if !self.broken {
                let put = self.put_used(chain.head(), *written);
                put.inspect_err(|error| self.breaks(error))?;
            }
        }
        // It makes the ring's index show all of them.
        self.complete(last, *written)
    }

    /// Fills the next entry of the used ring, which the driver does not see yet.
    fn put_used(&mut self, head: u16, written: u32) -> Result<(), QueueError> {
        let next = self.ring.next_used();
        let slot = next.checked_rem(self.ring.size()).unwrap_or(0);
        let offset = u64::from(slot)
            .saturating_mul(USED_ENTRY)
            .saturating_add(USED_HEADER);
        let address = GuestAddress(self.ring.used_ring().saturating_add(offset));
        let entry = u64::from(head) | u64::from(written) << 32;
        self.memory
            .write_slice(&entry.to_le_bytes(), address)
            .map_err(virtio_queue::Error::GuestMemory)?;
        self.ring.set_next_used(next.wrapping_add(1));
        self.is_unsure = true;
        Ok(())
    }

    /// Returns a request to the ring untouched; only for the one popped last.
    pub fn put_back(&mut self, chain: Chain) {
        drop(chain);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.ring.go_to_previous_position();
    }

    /// Interrupts the driver if it wants to hear of what was completed.
    ///
    /// # Errors
    /// The available ring is gone.
    pub fn notify(&mut self) -> Result<(), QueueError> {
        let is_unsure = std::mem::take(&mut self.is_unsure);
        if !self.broken && (self.ring.needs_notification(&self.memory)? || is_unsure) {
            self.interrupt.used_buffers(self.index);
        }
        Ok(())
    }

    /// Asks for a kick at the next request. True if there is one already, which no kick will announce.
    ///
    /// # Errors
    /// The rings are gone.
    pub fn rearm(&mut self) -> Result<bool, QueueError> {
        if self.broken {
            return Ok(false);
        }
        Ok(self.ring.enable_notification(&self.memory)?)
    }

    /// Declares the driver broken because of what it put into a request.
    pub fn breaks(&mut self, error: &QueueError) {
        if !self.broken {
            self.broken = true;
            self.interrupt.needs_reset(error);
        }
    }

    /// Guest memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The plain state. Requests in flight are not in it: drain first.
    pub fn state(&self) -> QueueState {
        QueueState {
            size: self.ring.size(),
            descriptors: self.ring.desc_table(),
            available: self.ring.avail_ring(),
            used: self.ring.used_ring(),
            next_available: self.ring.next_avail(),
            next_used: self.ring.next_used(),
        }
    }
}

#[cfg(test)]
mod tests;
