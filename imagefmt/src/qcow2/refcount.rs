//! Reference counts of the host's clusters (qcow2.rst, "Host cluster management"), and with them the
//! allocator of the writable layer.
//!
//! Counts are changed in memory only; [`commit`](super::commit) writes them. A cluster that is handed out is
//! counted at once, so a count can be too high on disk after a crash (a leak), never too low.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::extents::Extents;
use super::fault::Fault;
use super::geometry::{ENTRY, Geometry, HostCluster, HostOffset};
use crate::error::DiskError;
use crate::io::Host;

/// Counts in a page: 4 KiB of 16-bit numbers, for 128 MiB of file.
const PAGE: u64 = 2048;
/// Pages that are kept: 2 MiB.
const PAGES: usize = 512;

#[derive(Debug)]
struct Page {
    counts: Box<[u16]>,
    dirty: bool,
    writing: bool,
}

/// Clusters that were handed out: counted once, not yet referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allocation {
    pub(crate) start: HostCluster,
    pub(crate) count: u64,
    /// Whether the file has never been written there: it reads as zeroes.
    pub(crate) fresh: bool,
}

/// The counts, the free clusters, and those that will be free.
#[derive(Debug)]
pub(crate) struct Refcounts {
    host: Host,
    geometry: Geometry,
    table_at: HostOffset,
    /// Where each refcount block is; 0 if it does not exist.
    table: Vec<u64>,
    table_dirty: BTreeSet<usize>,
    pages: HashMap<u64, Page>,
    free: Extents,
    /// The first cluster that has never been used: from here on the file is empty.
    end: u64,
    /// No longer referred to in memory, but possibly still on disk.
    pending: Vec<(u64, u64)>,
    /// How many clusters that are.
    waiting: Arc<AtomicU64>,
}

/// Copies of what a commit has to write.
#[derive(Debug, Default)]
pub(crate) struct CountChanges {
    /// Changed pages: number, place in the file, counts.
    pub(crate) pages: Vec<(u64, HostOffset, Box<[u16]>)>,
    /// Changed entries of the refcount table: index, place in the file, entry.
    pub(crate) table: Vec<(usize, HostOffset, u64)>,
}

impl Refcounts {
    /// `end` is the file's length in clusters; `free` are the clusters below it that nothing refers to.
    pub(crate) fn new(
        host: Host,
        geometry: Geometry,
        table: (HostOffset, Vec<u64>),
        free: Extents,
        end: u64,
    ) -> Self {
        Self {
            host,
            geometry,
            table_at: table.0,
            table: table.1,
            table_dirty: BTreeSet::new(),
            pages: HashMap::new(),
            free,
            end,
            pending: Vec::new(),
            waiting: Arc::default(),
        }
    }

    /// The length in bytes of a file that holds every cluster that was handed out.
    pub(crate) fn file_len(&self) -> u64 {
        self.end * self.geometry.cluster_size()
    }

    /// Clusters that one refcount block counts.
    fn block_clusters(&self) -> u64 {
        self.geometry.cluster_size() / 2
    }

    /// Where a page of counts is in the file; `None` if its block does not exist.
    fn page_place(&self, page: u64) -> Option<HostOffset> {
        let first = page * PAGE;
        let block = *self.table.get((first / self.block_clusters()) as usize)?;
        (block != 0).then(|| HostOffset(block + first % self.block_clusters() * 2))
    }

    fn page(&mut self, page: u64) -> Result<&mut Page, DiskError> {
        if !self.pages.contains_key(&page) {
            if self.pages.len() >= PAGES {
                let clean = self.pages.iter().find(|(_, page)| !page.dirty && !page.writing);
                if let Some(number) = clean.map(|(number, _)| *number) {
                    self.pages.remove(&number);
                }
            }
            let mut bytes = vec![0; (PAGE * 2) as usize];
            let place = self.page_place(page);
            let place = place.ok_or_else(|| self.fault(Fault::Uncounted(page * PAGE)))?;
            self.host.read_bytes_or_zero(place.0, &mut bytes)?;
            let counts = bytes
                .as_chunks()
                .0
                .iter()
                .map(|count| u16::from_be_bytes(*count))
                .collect();
            self.pages.insert(
                page,
                Page {
                    counts,
                    dirty: false,
                    writing: false,
                },
            );
        }
        Ok(self.pages.get_mut(&page).expect("it has just been put there"))
    }

    /// Applies `change` to the count of each cluster of a run. All pages are read before any is changed, so
    /// that an error leaves everything as it was.
    fn update(&mut self, start: u64, count: u64, change: impl Fn(u16) -> u16) -> Result<(), DiskError> {
        let end = start + count;
        let pages = start / PAGE..=end.saturating_sub(1) / PAGE;
        for page in pages.clone() {
            self.page(page)?;
        }
        for number in pages {
            let from = start.max(number * PAGE);
            let to = end.min((number + 1) * PAGE);
            let page = self.page(number)?;
            let range = (from % PAGE) as usize..((to - 1) % PAGE + 1) as usize;
            for count in page.counts.get_mut(range).into_iter().flatten() {
                *count = change(*count);
            }
            page.dirty = true;
        }
        Ok(())
    }

    /// Hands out up to `want` clusters in a row.
    pub(crate) fn allocate(&mut self, want: u64) -> Result<Allocation, DiskError> {
        if let Some((start, count)) = self.free.take(want) {
            let counted = self.reach_run(start, count);
            if let Err(error) = counted.and_then(|()| self.update(start, count, |_| 1)) {
                self.free.insert(start, count);
                return Err(error);
            }
            return Ok(Allocation {
                start: HostCluster(start),
                count,
                fresh: false,
            });
        }
        self.reach_block()?;
        let left = self.block_clusters() - self.end % self.block_clusters();
        self.allocate_at_end(want.min(left))
    }

    /// Hands out exactly `count` clusters in a row at the file's end, at most half of what a refcount block
    /// counts.
    pub(crate) fn allocate_row(&mut self, count: u64) -> Result<Allocation, DiskError> {
        self.reach_block()?;
        let left = self.block_clusters() - self.end % self.block_clusters();
        if left < count {
            self.free.insert(self.end, left);
            self.end += left;
            self.reach_block()?;
        }
        self.allocate_at_end(count)
    }

    fn allocate_at_end(&mut self, count: u64) -> Result<Allocation, DiskError> {
        let start = self.end;
        self.update(start, count, |_| 1)?;
        self.end += count;
        Ok(Allocation {
            start: HostCluster(start),
            count,
            fresh: true,
        })
    }

    /// Makes sure that a refcount block counts the cluster at the file's end; a new one counts itself.
    fn reach_block(&mut self) -> Result<(), DiskError> {
        loop {
            let index = (self.end / self.block_clusters()) as usize;
            match self.table.get(index).copied() {
                // The new block may take the last cluster that it counts: then the next one is needed as well.
                Some(0) => self.add_block(index)?,
                Some(_) => return Ok(()),
                None => {
                    return Err(self.fault(Fault::RefcountTableFull(self.file_len())));
                }
            }
        }
    }

    /// Makes sure that refcount blocks count a run of free clusters. After a crash the file may reach beyond its blocks.
    fn reach_run(&mut self, start: u64, count: u64) -> Result<(), DiskError> {
        let last = (start + count).saturating_sub(1);
        for index in start / self.block_clusters()..=last / self.block_clusters() {
            let index = index as usize;
            if self.table.get(index) == Some(&0) {
                // The new block lies at the end, and must be counted there; if this is the end's own, it is made now.
                self.reach_block()?;
            }
            if self.table.get(index) == Some(&0) {
                self.add_block(index)?;
            }
        }
        Ok(())
    }

    /// Puts a new refcount block at the file's end. Nothing has ever been written there, so counts that are
    /// not in memory read as zeroes.
    fn add_block(&mut self, index: usize) -> Result<(), DiskError> {
        let place = self.geometry.host_start(HostCluster(self.end));
        let set = |table: &mut Vec<u64>, to| table.get_mut(index).into_iter().for_each(|entry| *entry = to);
        set(&mut self.table, place.0);
        if let Err(error) = self.update(self.end, 1, |_| 1) {
            set(&mut self.table, 0);
            return Err(error);
        }
        self.table_dirty.insert(index);
        self.end += 1;
        Ok(())
    }

    fn fault(&self, fault: Fault) -> DiskError {
        DiskError::Format {
            path: self.host.name().to_string(),
            fault,
        }
    }

    /// Gives back what was handed out and never referred to.
    pub(crate) fn give_back(&mut self, clusters: Allocation) {
        let unused = self.count_down(&[(clusters.start.0, clusters.count)]);
        self.add_free(&unused);
    }

    /// How many clusters are forgotten and not yet free, for who looks without a lock.
    pub(crate) fn waiting(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.waiting)
    }

    /// Notes clusters that the tables in memory no longer refer to. They are free after the next commit.
    pub(crate) fn forget(&mut self, start: HostCluster, count: u64) {
        self.waiting.fetch_add(count, Ordering::Relaxed);
        match self.pending.last_mut() {
            Some((last, len)) if *last + *len == start.0 => *len += count,
            _ => self.pending.push((start.0, count)),
        }
    }

    pub(crate) fn take_pending(&mut self) -> Vec<(u64, u64)> {
        self.waiting.store(0, Ordering::Relaxed);
        std::mem::take(&mut self.pending)
    }

    pub(crate) fn return_pending(&mut self, pending: Vec<(u64, u64)>) {
        let clusters = pending.iter().map(|(_, count)| count).sum();
        self.waiting.fetch_add(clusters, Ordering::Relaxed);
        self.pending.extend(pending);
    }

    /// Counts one reference less for each cluster; those that have none left. Where a count cannot be read
    /// the cluster stays a leak.
    pub(crate) fn count_down(&mut self, runs: &[(u64, u64)]) -> Extents {
        let mut unused = Extents::default();
        for (start, count) in runs {
            if let Err(error) = self.update(*start, *count, |count| count.saturating_sub(1)) {
                tracing::warn!(%error, start, count, "clusters leak: their refcounts cannot be read");
                continue;
            }
            for cluster in *start..start + count {
                let page = self.pages.get(&(cluster / PAGE));
                if page.and_then(|page| page.counts.get((cluster % PAGE) as usize)) == Some(&0) {
                    unused.insert(cluster, 1);
                }
            }
        }
        unused
    }

    /// Clusters without references may be handed out again.
    pub(crate) fn add_free(&mut self, unused: &Extents) {
        unused
            .iter()
            .for_each(|(start, count)| self.free.insert(start, count));
    }

    /// Corrects counts: those of leaks.
    pub(crate) fn set(&mut self, start: u64, clusters: u64, count: u16) -> Result<(), DiskError> {
        self.update(start, clusters, |_| count)
    }

    /// Copies changed pages; they count as being written until [`Refcounts::written`].
    pub(crate) fn take_pages(&mut self) -> CountChanges {
        let mut changes = CountChanges::default();
        let dirty: Vec<u64> = self
            .pages
            .iter()
            .filter(|(_, page)| page.dirty)
            .map(|(number, _)| *number)
            .collect();
        for number in dirty {
            let Some(place) = self.page_place(number) else {
                continue;
            };
            let Some(page) = self.pages.get_mut(&number) else {
                continue;
            };
            page.dirty = false;
            page.writing = true;
            changes.pages.push((number, place, page.counts.clone()));
        }
        changes
    }

    /// Copies changed pages and entries of the refcount table.
    pub(crate) fn take_changes(&mut self) -> CountChanges {
        let mut changes = self.take_pages();
        for index in std::mem::take(&mut self.table_dirty) {
            let at = HostOffset(self.table_at.0 + index as u64 * ENTRY);
            changes
                .table
                .push((index, at, self.table.get(index).copied().unwrap_or(0)));
        }
        changes
    }

    /// Ends what [`Refcounts::take_changes`] began. After a failure all of it is dirty again.
    pub(crate) fn written(&mut self, changes: &CountChanges, outcome: Result<(), ()>) {
        for (number, _, _) in &changes.pages {
            if let Some(page) = self.pages.get_mut(number) {
                page.writing = false;
                page.dirty |= outcome.is_err();
            }
        }
        if outcome.is_err() {
            self.table_dirty
                .extend(changes.table.iter().map(|(index, _, _)| *index));
        }
    }
}

#[cfg(test)]
mod tests;
