//! Guest writes: in place where the cluster is ours alone, else into new clusters.
//!
//! A new cluster is filled completely (the guest's bytes, and around them what the disk showed there before)
//! *before* the table in memory refers to it. So nobody ever sees a half-filled cluster, and an error leaves
//! the old mapping.

use super::entry::{L1Entry, L2Entry};
use super::geometry::{GuestCluster, GuestOffset, HostCluster, HostOffset};
use super::layer::{Layer, read_table};
use super::mapping::Mapping;
use super::refcount::Allocation;
use super::stack::Stack;
use super::writer::Writer;
use crate::error::DiskError;
use crate::io::{Segment, Span};

/// New clusters that are filled by one write: 1 MiB.
const ROW: u64 = 16;

impl Stack<'_> {
    /// Writes the span from `offset` on into the top layer.
    pub(crate) fn write(self, offset: u64, from: Span<'_, '_>) -> Result<(), DiskError> {
        let (top, writer) = self.writable()?;
        top.commit_if_crowded()?;
        let _request = writer.request();
        let mut done = 0;
        while done < from.len() {
            let at = offset + done as u64;
            let left = from.len() - done;
            let (mapping, run) = top.map(at, left as u64)?;
            done += match mapping {
                Mapping::Data { host, copied: true } => {
                    let part = from.part(done, run as usize);
                    top.host.write(host.0, part)?;
                    part.len()
                }
                _ => self.write_new(at, from.part(done, left))?,
            };
        }
        Ok(())
    }

    pub(super) fn writable(&self) -> Result<(&Layer, &Writer), DiskError> {
        let (top, _) = self.split_top().expect("a chain has at least one layer");
        match &top.writer {
            Some(writer) => Ok((top, writer)),
            None => Err(DiskError::ReadOnly {
                path: top.name().to_string(),
            }),
        }
    }

    /// Writes the first bytes of the span into new clusters. How many; 0 if someone else has just mapped the
    /// first cluster.
    fn write_new(self, offset: u64, from: Span<'_, '_>) -> Result<usize, DiskError> {
        let (top, writer) = self.writable()?;
        let geometry = top.geometry();
        let first = geometry.guest_cluster(GuestOffset(offset));
        let end = offset + from.len() as u64;
        let slice_end = (geometry.slice(first) + 1) * geometry.slice_entries();
        let last = geometry.clusters(end).min(first.0 + ROW).min(slice_end);
        let _claim = writer.claim(first, GuestCluster(last));
        let wanted = top.unwritable_clusters(first, last - first.0)?;
        if wanted == 0 {
            return Ok(0);
        }
        top.ensure_table(writer, first)?;
        let new = writer.refcounts().allocate(wanted)?;
        let stop = end.min(geometry.guest_start(GuestCluster(first.0 + new.count)).0);
        let part = from.part(0, (stop - offset) as usize);
        let filled = self
            .fill(offset, part, new)
            .and_then(|()| top.publish(writer, first, new));
        match filled {
            Ok(()) => Ok(part.len()),
            Err(error) => {
                writer.refcounts().give_back(new);
                Err(error)
            }
        }
    }

    /// Fills new clusters: the span, and before and after it what the disk shows now.
    fn fill(self, offset: u64, part: Span<'_, '_>, new: Allocation) -> Result<(), DiskError> {
        let (top, _) = self.writable()?;
        let geometry = top.geometry();
        let start = geometry.host_start(new.start).0;
        let head = geometry.within(offset);
        let end = offset + part.len() as u64;
        let tail = geometry.within(geometry.cluster_size() - geometry.within(end));
        let before = self.surroundings(offset - head, head, new.fresh)?;
        let mut after = self.surroundings(end, tail, new.fresh)?;
        // Where the clusters are still empty, zeroes need not be written.
        let mut before = before.unwrap_or_default();
        let skipped = head - before.len() as u64;
        let mut pieces = Vec::new();
        pieces.push(Segment::from_mut(&mut before));
        pieces.extend(part.to_segments());
        if let Some(after) = &mut after {
            pieces.push(Segment::from_mut(after));
        }
        let whole = Span::new(&pieces);
        top.host.write(start + skipped, whole)?;
        top.note_len(start + skipped + whole.len() as u64);
        Ok(())
    }

    /// What the disk shows in a range; `None` if it is all zeroes and that need not be written.
    fn surroundings(self, offset: u64, len: u64, fresh: bool) -> Result<Option<Vec<u8>>, DiskError> {
        if len == 0 || (fresh && self.is_zero(offset, len)?) {
            return Ok(None);
        }
        let mut bytes = vec![0; len as usize];
        self.read(offset, Span::new(&[Segment::from_mut(&mut bytes)]))?;
        Ok(Some(bytes))
    }
}

impl Layer {
    /// How many of the next `count` clusters (all in one slice) cannot be written in place.
    fn unwritable_clusters(&self, first: GuestCluster, count: u64) -> Result<u64, DiskError> {
        let geometry = self.geometry();
        let index = geometry.slice_index(first);
        let found = self.with_slice(geometry.slice(first), |entries| {
            let entries = entries.iter().skip(index).take(count as usize);
            let mut unwritable = 0;
            for raw in entries {
                match self.decode(*raw)? {
                    L2Entry::Data { copied: true, .. } => break,
                    _ => unwritable += 1,
                }
            }
            Ok(unwritable)
        })?;
        found.unwrap_or(Ok(count))
    }

    /// Makes sure that the L2 table for a cluster exists, in memory.
    ///
    /// A new table always lies at the file's end, where nothing has ever been written: it is empty on disk
    /// whatever gets lost, so that L1 and L2 may reach the disk in either order.
    pub(super) fn ensure_table(&self, writer: &Writer, cluster: GuestCluster) -> Result<(), DiskError> {
        let geometry = self.geometry();
        let index = geometry.l1_index(cluster);
        let exists = |raw| {
            self.l2_table(raw)
                .map(|entry| entry.is_some())
                .map_err(|fault| self.fault(fault))
        };
        if exists(self.tables().l1_entry(index))? {
            return Ok(());
        }
        let new = writer.refcounts().allocate_row(1)?;
        let mut tables = self.tables_mut();
        if !exists(tables.l1_entry(index))? {
            tables.set_l1_entry(index, L1Entry::encode(geometry.host_start(new.start)));
        } else {
            drop(tables);
            writer.refcounts().give_back(new);
        }
        Ok(())
    }

    /// Lets the tables in memory refer to filled clusters; forgets what they referred to before.
    fn publish(&self, writer: &Writer, first: GuestCluster, new: Allocation) -> Result<(), DiskError> {
        let geometry = self.geometry();
        let index = geometry.slice_index(first);
        let old = self.change_slice(geometry.slice(first), |entries| {
            let entries = entries.iter_mut().skip(index).take(new.count as usize);
            let place = |nth: u64| geometry.host_start(HostCluster(new.start.0 + nth));
            entries
                .zip(0..)
                .map(|(entry, nth)| {
                    std::mem::replace(
                        entry,
                        L2Entry::Data {
                            host: place(nth),
                            copied: true,
                        }
                        .encode(),
                    )
                })
                .collect::<Vec<_>>()
        })?;
        self.forget(writer, &old);
        Ok(())
    }

    /// Changes a slice in memory, reading it first if need be. Its L2 table must exist.
    pub(super) fn change_slice<R>(
        &self,
        slice: u64,
        change: impl FnOnce(&mut [u64]) -> R,
    ) -> Result<R, DiskError> {
        let mut tables = self.tables_mut();
        if tables.slice(slice).is_none() {
            let (l1_index, within) = self.geometry().slice_place(slice);
            let entry = self
                .l2_table(tables.l1_entry(l1_index))
                .map_err(|fault| self.fault(fault))?;
            match entry {
                Some(entry) => {
                    let at = HostOffset(entry.table.0 + within);
                    let entries = read_table(&self.host, at, self.geometry().slice_entries())?;
                    let drops = tables.drops();
                    tables.insert(slice, &entries, drops);
                }
                None => tables.insert_empty(slice),
            }
        }
        Ok(tables
            .change(slice, change)
            .expect("the slice has just been read, under the same lock"))
    }

    /// Notes the clusters behind old entries as no longer referred to.
    pub(super) fn forget(&self, writer: &Writer, old: &[u64]) {
        let geometry = self.geometry();
        let mut refcounts = writer.refcounts();
        for raw in old {
            match self.decode(*raw) {
                Ok(L2Entry::Data { host, .. } | L2Entry::Zero { host: Some(host) }) => {
                    refcounts.forget(geometry.host_cluster(host), 1);
                }
                Ok(L2Entry::Compressed { start, len }) => {
                    let first = geometry.host_cluster(start);
                    let last = geometry.host_cluster(HostOffset(start.0 + len - 1));
                    refcounts.forget(first, last.0 - first.0 + 1);
                }
                Ok(L2Entry::Unallocated | L2Entry::Zero { host: None }) | Err(_) => {}
            }
        }
    }
}
