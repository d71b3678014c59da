//! The L1 table, and a bounded cache of pieces ("slices") of L2 tables.
//!
//! A slice that has been changed stays in memory until [`commit`](super::commit) has written it: nothing
//! here ever writes to the file.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use super::geometry::Geometry;

/// Slices that a layer may keep: 1 MiB of them for a sealed layer…
pub(crate) const SEALED_SLICES: usize = 256;
/// … and 4 MiB for the one that is written, which map 32 GiB of disk.
pub(crate) const WRITABLE_SLICES: usize = 1024;

/// Up to 512 entries of an L2 table.
#[derive(Debug)]
pub(crate) struct Slice {
    /// The entries, in the host's byte order.
    entries: Box<[u64]>,
    /// Looked at since the cache last searched for one to drop.
    used: AtomicBool,
    /// Differs from the file.
    dirty: bool,
    /// On its way to the file.
    writing: bool,
}

/// What of a layer's mapping is in memory.
#[derive(Debug)]
pub(crate) struct Tables {
    geometry: Geometry,
    /// The whole L1 table, raw entries.
    l1: Vec<u64>,
    /// L1 entries that differ from the file.
    l1_dirty: BTreeSet<usize>,
    slices: HashMap<u64, Slice>,
    /// The cached slices in the order in which they are considered for dropping.
    order: VecDeque<u64>,
    limit: usize,
    dirty: usize,
    /// Counts drops: a slice read from the file while none was dropped cannot be stale.
    drops: u64,
}

/// Copies of what a commit has to write.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Changed slices: number and entries.
    pub(crate) slices: Vec<(u64, Box<[u64]>)>,
    /// Changed L1 entries: index and entry.
    pub(crate) l1: Vec<(usize, u64)>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.slices.is_empty() && self.l1.is_empty()
    }
}

impl Tables {
    pub(crate) fn new(geometry: Geometry, l1: Vec<u64>, limit: usize) -> Self {
        Self {
            geometry,
            l1,
            l1_dirty: BTreeSet::new(),
            slices: HashMap::new(),
            order: VecDeque::new(),
            limit,
            dirty: 0,
            drops: 0,
        }
    }

    pub(crate) fn l1(&self) -> &[u64] {
        &self.l1
    }

    /// The raw L1 entry; zero beyond the table's end.
    pub(crate) fn l1_entry(&self, index: usize) -> u64 {
        self.l1.get(index).copied().unwrap_or(0)
    }

    /// Changes an L1 entry; the file follows at the next commit.
    pub(crate) fn set_l1_entry(&mut self, index: usize, raw: u64) {
        if let Some(entry) = self.l1.get_mut(index) {
            *entry = raw;
            self.l1_dirty.insert(index);
        }
    }

    /// Makes the L1 table longer by empty entries.
    pub(crate) fn grow_l1(&mut self, entries: usize) {
        if entries > self.l1.len() {
            self.l1.resize(entries, 0);
        }
    }

    /// The L1 table as it is in the file: an entry that has not been written yet is still zero there.
    pub(crate) fn l1_on_disk(&self) -> Vec<u64> {
        let known = self.l1.iter().enumerate();
        known
            .map(|(index, raw)| if self.l1_dirty.contains(&index) { 0 } else { *raw })
            .collect()
    }

    /// A slice's entries, if they are in memory.
    pub(crate) fn slice(&self, number: u64) -> Option<&[u64]> {
        let slice = self.slices.get(&number)?;
        slice.used.store(true, Ordering::Relaxed);
        Some(&slice.entries)
    }

    /// A token for [`Tables::insert`].
    pub(crate) fn drops(&self) -> u64 {
        self.drops
    }

    /// Adds a slice as it is in the file, unless it is there already, or has been dropped since `drops` (it
    /// might have changed in between).
    pub(crate) fn insert(&mut self, number: u64, entries: &[u64], drops: u64) {
        if self.drops == drops && !self.slices.contains_key(&number) {
            self.add(number, entries.into());
        }
    }

    /// Adds an empty slice: that of an L2 table that is new.
    pub(crate) fn insert_empty(&mut self, number: u64) {
        if !self.slices.contains_key(&number) {
            self.add(number, vec![0; self.geometry.slice_entries() as usize].into());
        }
    }

    fn add(&mut self, number: u64, entries: Box<[u64]>) {
        self.shrink(self.limit.saturating_sub(1));
        let slice = Slice {
            entries,
            used: AtomicBool::new(false),
            dirty: false,
            writing: false,
        };
        self.slices.insert(number, slice);
        self.order.push_back(number);
    }

    /// Drops clean slices until at most `limit` are left, those first that were not used of late.
    fn shrink(&mut self, limit: usize) {
        let mut tries = self.order.len().saturating_mul(2);
        while self.order.len() > limit && tries > 0 {
            tries -= 1;
            let Some(number) = self.order.pop_front() else {
                break;
            };
            let Some(slice) = self.slices.get(&number) else {
                continue;
            };
            if slice.dirty || slice.writing || slice.used.swap(false, Ordering::Relaxed) {
                self.order.push_back(number);
            } else {
                self.slices.remove(&number);
                self.drops += 1;
            }
        }
    }

    /// How many slices may be kept from now on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.shrink(limit);
    }

    /// Changes entries of a slice in memory; `None` if it is not there.
    pub(crate) fn change<R>(&mut self, number: u64, change: impl FnOnce(&mut [u64]) -> R) -> Option<R> {
        let slice = self.slices.get_mut(&number)?;
        let result = change(&mut slice.entries);
        if !slice.dirty {
            slice.dirty = true;
            self.dirty += 1;
        }
        Some(result)
    }

    /// Whether so many slices are dirty that they should be written when nobody waits for it.
    pub(crate) fn is_filling(&self) -> bool {
        self.dirty > self.limit / 8 * 3
    }

    /// Whether so many slices are dirty that they must be written before more are changed.
    pub(crate) fn is_crowded(&self) -> bool {
        self.dirty > self.limit / 2
    }

    /// Copies whatever is dirty; it counts as being written until [`Tables::written`].
    pub(crate) fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        if self.dirty > 0 {
            for (number, slice) in self.slices.iter_mut().filter(|(_, slice)| slice.dirty) {
                slice.dirty = false;
                slice.writing = true;
                changes.slices.push((*number, slice.entries.clone()));
            }
            self.dirty = 0;
        }
        let l1 = std::mem::take(&mut self.l1_dirty);
        changes.l1 = l1
            .into_iter()
            .map(|index| (index, self.l1_entry(index)))
            .collect();
        changes
    }

    /// Ends what [`Tables::take_changes`] began. After a failure all of it is dirty again.
    pub(crate) fn written(&mut self, changes: &Changes, outcome: Result<(), ()>) {
        for (number, _) in &changes.slices {
            let Some(slice) = self.slices.get_mut(number) else {
                continue;
            };
            slice.writing = false;
            if outcome.is_err() && !slice.dirty {
                slice.dirty = true;
                self.dirty += 1;
            }
        }
        if outcome.is_err() {
            self.l1_dirty.extend(changes.l1.iter().map(|(index, _)| *index));
        }
    }
}

#[cfg(test)]
mod tests;
