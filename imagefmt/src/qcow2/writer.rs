//! What the writable layer has besides its tables: who works on which clusters, counts, and commits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::geometry::GuestCluster;
use super::refcount::Refcounts;

/// The writer's half of a layer. Lock order: commit, requests, tables (in the layer), refcounts.
#[derive(Debug)]
pub(crate) struct Writer {
    /// Guest clusters whose mapping is being changed.
    busy: Busy,
    /// Held shared by each request, so that a commit can wait until none is left that may still use a
    /// cluster which was forgotten.
    requests: RwLock<()>,
    refcounts: Mutex<Refcounts>,
    /// Clusters that are forgotten and not yet free.
    waiting: Arc<AtomicU64>,
    pub(super) commits: Commits,
}

impl Writer {
    pub(crate) fn new(refcounts: Refcounts) -> Self {
        Self {
            busy: Busy::default(),
            requests: RwLock::new(()),
            waiting: refcounts.waiting(),
            refcounts: Mutex::new(refcounts),
            commits: Commits::default(),
        }
    }

    /// Marks a request that may touch guest data in the file.
    pub(super) fn request(&self) -> RwLockReadGuard<'_, ()> {
        self.requests.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all requests that are in flight now are done.
    pub(super) fn wait_for_requests(&self) {
        drop(self.requests.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn refcounts(&self) -> MutexGuard<'_, Refcounts> {
        self.refcounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many clusters the next commit frees.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits until nobody else changes the mapping of these clusters (`to` excluded), and keeps others off.
    pub(super) fn claim(&self, from: GuestCluster, to: GuestCluster) -> Claim<'_> {
        self.busy.claim(from.0, to.0)
    }
}

/// Lets one commit answer all flushes that were waiting when it began.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// Commits begun so far.
    pub(super) begun: AtomicU64,
    /// Held by the one commit that runs: the number of the last one that succeeded.
    pub(super) done: Mutex<u64>,
}

/// Ranges of clusters that are being worked on; few at any time.
#[derive(Debug, Default)]
struct Busy {
    ranges: Mutex<Vec<(u64, u64)>>,
    changed: Condvar,
}

impl Busy {
    fn claim(&self, from: u64, to: u64) -> Claim<'_> {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        while ranges.iter().any(|(start, end)| from < *end && *start < to) {
            ranges = self.changed.wait(ranges).unwrap_or_else(PoisonError::into_inner);
        }
        ranges.push((from, to));
        Claim {
            busy: self,
            range: (from, to),
        }
    }
}

/// A claim on guest clusters; ends when dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    busy: &'a Busy,
    range: (u64, u64),
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut ranges = self.busy.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = ranges.iter().position(|range| *range == self.range) {
            ranges.swap_remove(at);
        }
        self.busy.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_claims_wait_for_each_other() {
        let busy = Busy::default();
        let first = busy.claim(0, 4);
        let _other = busy.claim(4, 8);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(busy.claim(3, 5)));
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!waiting.is_finished());
            drop(first);
            drop(_other);
            waiting.join().unwrap();
        });
    }
}
