//! The gate between a block device's queue and its disk.

use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

use super::traffic::{DiskTraffic, Traffic};
use crate::virtio::{Guarded, Stop};

/// How often a thread before a closed gate looks whether it shall stop.
const LOOK_FOR_STOP: Duration = Duration::from_millis(20);

/// Lets requests pass while it is open. Closed, no request is in flight and none is taken: the state in
/// which a disk's layers may be exchanged under a running guest.
///
/// What makes data durable needs no passage: the host takes its time for that, and a guest must not be held still for it. A
/// request that comes to it gives up its passage first: [`Disk::flush`](kiln_imagefmt::Disk::flush) and
/// [`Disk::settle`](kiln_imagefmt::Disk::settle) are right whichever layers there are.
///
/// It belongs to the device, not to its driver: it stays as it is over resets.
#[derive(Debug, Default)]
pub struct BlockGate {
    state: Guarded<State>,
    changed: Condvar,
    /// What has passed.
    pub(super) traffic: Traffic,
}

#[derive(Debug, Default)]
struct State {
    /// How many have closed it and not opened it again.
    closed: u32,
    in_flight: u32,
}

impl BlockGate {
    /// Closes the gate and waits until what passed it is done. Closing it twice takes two openings.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed += 1;
        while state.in_flight > 0 {
            state = self.wait(state);
        }
    }

    /// Closes the gate without waiting; [`close`](Self::close) or [`drained`](Self::drained) waits.
    pub fn begin_close(&self) {
        self.state.lock().closed += 1;
    }

    /// Waits until nothing that passed the gate, which is closed, is in flight any more.
    pub fn drained(&self) {
        let mut state = self.state.lock();
        while state.in_flight > 0 {
            state = self.wait(state);
        }
    }

    /// As [`drained`](Self::drained), at most for `patience`; false if something still is in flight.
    pub fn is_drained_within(&self, patience: Duration) -> bool {
        let state = self.state.lock();
        let waited = self
            .changed
            .wait_timeout_while(state, patience, |state| state.in_flight > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.in_flight == 0
    }

    /// Opens the gate.
    pub fn open(&self) {
        let mut state = self.state.lock();
        state.closed = state.closed.saturating_sub(1);
        drop(state);
        self.changed.notify_all();
    }

    /// What has passed the gate so far.
    pub fn traffic(&self) -> DiskTraffic {
        self.traffic.total()
    }

    /// Waits until the gate is open and passes it; `None` if `stop` is set first, so that a device can
    /// be stopped behind a closed gate.
    pub fn pass(&self, stop: &Stop) -> Option<Passage<'_>> {
        let mut state = self.state.lock();
        while state.closed > 0 {
            if stop.is_set() {
                return None;
            }
            let waited = self.changed.wait_timeout(state, LOOK_FOR_STOP);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.in_flight += 1;
        Some(Passage(self))
    }

    /// Passes the gate if it is open.
    pub(super) fn pass_if_open(&self) -> Option<Passage<'_>> {
        let mut state = self.state.lock();
        if state.closed > 0 {
            return None;
        }
        state.in_flight += 1;
        Some(Passage(self))
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request on the disk's side of the gate.
#[derive(Debug)]
pub struct Passage<'a>(&'a BlockGate);

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        // Telling costs a system call: only who has closed the gate waits for it.
        let awaited = state.in_flight == 0 && state.closed > 0;
        drop(state);
        if awaited {
            self.0.changed.notify_all();
        }
    }
}
