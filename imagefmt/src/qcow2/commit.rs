//! Commits: how changed tables reach the disk so that a power cut at any moment leaves only leaks.
//!
//! ```text
//!  guest data ──┐
//!  refcounts  ──┴─ sync ─▶ L2 slices, L1 entries ── sync ─▶ forgotten clusters: hole, count − 1, free
//! ```
//! * No table entry is on disk before the data and the count of what it refers to: the first sync.
//! * L1 and L2 need no order between them, since a new L2 table lies where the file was never written: it is
//!   empty until its first slice is written.
//! * A cluster that was forgotten is counted, and never handed out again, until the second sync has made
//!   sure that no entry on disk refers to it.
//! * A new refcount block is durable before the refcount table refers to it: one more sync, once in 2 GiB.
//!
//! Without new clusters there is one sync.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::layer::Layer;
use super::refcount::CountChanges;
use super::tables::Changes;
use super::writer::Writer;
use crate::error::DiskError;
use crate::io::Host;

/// Clusters that may be forgotten before they are freed when nobody waits for it: 64 MiB. A guest that discards and
/// writes the same clusters again and again gets new ones each time, and its file grows by as much.
const FILLING: u64 = 1024;
/// The same when a request must wait for it: 2 GiB, and half as many as [`Extents`](super::extents::Extents) can have runs,
/// so that a commit frees all of them.
const CROWDED: u64 = 32768;
impl Layer {
    /// Makes durable whatever was written before. Nothing to do for a layer that was opened for reading.
    pub(crate) fn commit(&self) -> Result<(), DiskError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let arrived = writer.commits.begun.load(Ordering::SeqCst);
        // Needless if one that began after this call has ended well.
        self.commit_unless(writer, |done| done > arrived)
    }

    /// Commits after the one that runs, unless by then, with that number as the last that ended well, it is not needed.
    fn commit_unless(&self, writer: &Writer, is_needless: impl FnOnce(u64) -> bool) -> Result<(), DiskError> {
        let mut done = writer.commits.done.lock().unwrap_or_else(PoisonError::into_inner);
        if is_needless(*done) {
            return Ok(());
        }
        let number = writer.commits.begun.fetch_add(1, Ordering::SeqCst) + 1;
        self.commit_once(writer)?;
        *done = number;
        Ok(())
    }

    /// Commits, and also makes durable what the commit freed: the file is then as small and clean as it gets.
    pub(crate) fn commit_fully(&self) -> Result<(), DiskError> {
        self.commit()?;
        self.commit()
    }

    /// Keeps what waits so small that no request finds it crowded.
    pub(crate) fn commit_if_filling(&self) -> Result<(), DiskError> {
        self.commit_if_due(|| self.tables().is_filling() || self.waiting() > FILLING)
    }

    /// Keeps what waits in memory bounded, whatever fails. Called before a request changes anything, and without one in
    /// flight.
    pub(super) fn commit_if_crowded(&self) -> Result<(), DiskError> {
        self.commit_if_due(|| self.tables().is_crowded() || self.waiting() > CROWDED)
    }

    /// Commits if it is due; of all who find it so at once, one does.
    fn commit_if_due(&self, is_due: impl Fn() -> bool) -> Result<(), DiskError> {
        match &self.writer {
            Some(writer) if is_due() => self.commit_unless(writer, |_| !is_due()),
            _ => Ok(()),
        }
    }

    fn waiting(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::waiting)
    }

    pub(super) fn commit_once(&self, writer: &Writer) -> Result<(), DiskError> {
        // The order of these three matters: what is forgotten by now is out of the tables by then, and what
        // the tables refer to by then is counted at last.
        let forgotten = writer.refcounts().take_pending();
        let changes = self.tables_mut().take_changes();
        let counts = writer.refcounts().take_changes();
        let outcome = self
            .lengthen(writer)
            .and_then(|()| self.write_changes(&changes, &counts));
        let told = outcome.as_ref().map(|_| ()).map_err(|_| ());
        self.tables_mut().written(&changes, told);
        writer.refcounts().written(&counts, told);
        if let Err(error) = outcome {
            writer.refcounts().return_pending(forgotten);
            return Err(error);
        }
        if !forgotten.is_empty() {
            self.release(writer, &forgotten);
        }
        Ok(())
    }

    fn write_changes(&self, changes: &Changes, counts: &CountChanges) -> Result<(), DiskError> {
        write_counts(&self.host, counts)?;
        if !counts.table.is_empty() {
            self.host.sync()?;
            for (_, at, entry) in &counts.table {
                self.host.write_bytes(at.0, &entry.to_be_bytes())?;
            }
        }
        if !changes.is_empty() {
            self.host.sync()?;
            for (at, entries) in &changes.slices {
                let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
                self.host.write_bytes(self.slice_place(*at)?, &bytes)?;
            }
            let l1 = self.l1_place();
            for (index, entry) in &changes.l1 {
                self.host
                    .write_bytes(l1 + *index as u64 * super::geometry::ENTRY, &entry.to_be_bytes())?;
            }
        }
        self.host.sync()
    }

    /// Makes the file reach over all clusters that were handed out.
    fn lengthen(&self, writer: &Writer) -> Result<(), DiskError> {
        // Nobody gets a cluster beyond this length while the counts are held: else the file could be cut off behind
        // what is written there meanwhile.
        let refcounts = writer.refcounts();
        let len = refcounts.file_len();
        if self.known_len() < len {
            self.host.set_len(len)?;
            self.note_len(len);
        }
        Ok(())
    }

    /// Where a slice is in the file. Its L2 table exists and never moves.
    fn slice_place(&self, slice: u64) -> Result<u64, DiskError> {
        let (index, within) = self.geometry().slice_place(slice);
        let raw = self.tables().l1_entry(index);
        let entry = self.l2_table(raw).map_err(|fault| self.fault(fault))?;
        Ok(entry.expect("a changed slice has an L2 table").table.0 + within)
    }

    /// Frees clusters that no entry refers to any more, on disk either.
    fn release(&self, writer: &Writer, forgotten: &[(u64, u64)]) {
        // A request that began before the entries were cleared may still read or write these clusters.
        writer.wait_for_requests();
        let unused = writer.refcounts().count_down(forgotten);
        let size = self.geometry().cluster_size();
        for (start, count) in unused.iter() {
            if let Err(error) = self.host.punch_hole(start * size, count * size) {
                tracing::warn!(%error, "the space of discarded clusters is not given back");
            }
        }
        let counts = {
            let mut refcounts = writer.refcounts();
            refcounts.add_free(&unused);
            refcounts.take_pages()
        };
        // Not needed for safety: without it the file leaks if nothing is ever flushed again.
        let told = write_counts(&self.host, &counts).map_err(|_| ());
        writer.refcounts().written(&counts, told);
    }

    /// Runs `work` while no commit runs.
    pub(super) fn between_commits<R>(&self, writer: &Writer, work: impl FnOnce() -> R) -> R {
        let _done = writer.commits.done.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }
}

fn write_counts(host: &Host, counts: &CountChanges) -> Result<(), DiskError> {
    for (_, at, page) in &counts.pages {
        let bytes: Vec<u8> = page.iter().flat_map(|count| count.to_be_bytes()).collect();
        host.write_bytes(at.0, &bytes)?;
    }
    Ok(())
}
