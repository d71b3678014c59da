//! Discard and write-zeroes: table entries instead of data.
//!
//! In an overlay a discarded cluster must not become "unallocated": that would show what the layer below has,
//! data that the guest overwrote long ago. It gets the zero flag, except where the layers below read as
//! zeroes anyway. Where space is to be kept, zeroes are written as data: under a zero flag the old bytes would stay
//! in the file, and travel with it.

use super::entry::L2Entry;
use super::geometry::{GuestCluster, GuestOffset};
use super::stack::{Source, Stack};
use crate::disk::Unmap;
use crate::error::DiskError;
use crate::io::{Segment, Span};

impl Stack<'_> {
    /// Makes whole clusters within the range read as zeroes and gives their space back; leaves the rest.
    pub(crate) fn discard(self, offset: u64, len: u64) -> Result<(), DiskError> {
        let (from, to) = self.whole_clusters(offset, len)?;
        self.clear(from, to, Unmap::Allowed)
    }

    /// Makes the range read as zeroes.
    pub(crate) fn write_zeroes(self, offset: u64, len: u64, unmap: Unmap) -> Result<(), DiskError> {
        let (top, _) = self.writable()?;
        let geometry = top.geometry();
        let (from, to) = self.whole_clusters(offset, len)?;
        let end = offset + len;
        if from >= to {
            return self.write_zero_bytes(offset, len);
        }
        let (start, stop) = (geometry.guest_start(from).0, geometry.guest_start(to).0);
        self.write_zero_bytes(offset, start - offset)?;
        self.clear(from, to, unmap)?;
        self.write_zero_bytes(stop, end.saturating_sub(stop))
    }

    /// The clusters that lie in the range as a whole, up to the second one excluded. The disk's last cluster
    /// ends where the disk ends.
    fn whole_clusters(&self, offset: u64, len: u64) -> Result<(GuestCluster, GuestCluster), DiskError> {
        let (top, _) = self.writable()?;
        let geometry = top.geometry();
        let end = offset + len;
        let from = geometry.clusters(offset);
        let to = match end == top.size() {
            true => geometry.clusters(end),
            false => geometry.guest_cluster(GuestOffset(end)).0,
        };
        Ok((GuestCluster(from), GuestCluster(to.max(from))))
    }

    /// Writes zeroes as data, less than two clusters of them, unless there are zeroes already.
    fn write_zero_bytes(self, offset: u64, len: u64) -> Result<(), DiskError> {
        if len == 0 || self.is_zero(offset, len)? {
            return Ok(());
        }
        let zeroes = vec![0; len as usize];
        self.write(offset, Span::new(&[Segment::from_ref(&zeroes)]))
    }

    fn clear(self, from: GuestCluster, to: GuestCluster, unmap: Unmap) -> Result<(), DiskError> {
        let (top, writer) = self.writable()?;
        let per_slice = top.geometry().slice_entries();
        let mut at = from;
        while at < to {
            let next = GuestCluster(to.0.min((top.geometry().slice(at) + 1) * per_slice));
            top.commit_if_crowded()?;
            let request = writer.request();
            self.clear_in_slice(at, next, unmap)?;
            drop(request);
            at = next;
        }
        Ok(())
    }

    fn clear_in_slice(self, from: GuestCluster, to: GuestCluster, unmap: Unmap) -> Result<(), DiskError> {
        let (top, writer) = self.writable()?;
        let geometry = top.geometry();
        let _claim = writer.claim(from, to);
        let (slice, index) = (geometry.slice(from), geometry.slice_index(from));
        let hidden = self.data_below(from, to)?;
        let clear = |raw: u64, hidden: bool| -> Result<u64, DiskError> {
            let empty = if hidden {
                L2Entry::Zero { host: None }
            } else {
                L2Entry::Unallocated
            };
            Ok(match (top.decode(raw)?, unmap) {
                (L2Entry::Unallocated, _) => empty.encode(),
                (L2Entry::Zero { host: None }, _) => raw,
                (L2Entry::Zero { .. }, Unmap::Forbidden) => raw,
                (L2Entry::Data { copied: true, .. }, Unmap::Forbidden) => raw,
                _ => empty.encode(),
            })
        };
        let cleared = |entries: &mut dyn Iterator<Item = u64>| -> Result<Vec<(u64, u64)>, DiskError> {
            entries
                .zip(&hidden)
                .map(|(raw, hidden)| Ok((raw, clear(raw, *hidden)?)))
                .collect()
        };
        let found = top.with_slice(slice, |entries| cleared(&mut entries.iter().skip(index).copied()))?;
        let planned = found.unwrap_or_else(|| cleared(&mut std::iter::repeat_n(0, hidden.len())))?;
        for (old, new) in &planned {
            if let (true, L2Entry::Data { host, .. }) = (old == new, top.decode(*old)?) {
                top.host
                    .write_bytes(host.0, &vec![0; geometry.cluster_size() as usize])?;
            }
        }
        if planned.iter().all(|(old, new)| old == new) {
            return Ok(());
        }
        // Nobody else changes these entries meanwhile: that is what the claim is for.
        top.ensure_table(writer, from)?;
        top.change_slice(slice, |entries| {
            for (entry, (_, new)) in entries.iter_mut().skip(index).zip(&planned) {
                *entry = *new;
            }
        })?;
        let gone: Vec<u64> = planned
            .iter()
            .filter(|(old, new)| old != new && !keeps_space(*new))
            .map(|(old, _)| *old)
            .collect();
        top.forget(writer, &gone);
        Ok(())
    }

    /// For each cluster whether the layers below have anything but zeroes there.
    fn data_below(&self, from: GuestCluster, to: GuestCluster) -> Result<Vec<bool>, DiskError> {
        let (top, below) = self.split_top().expect("a chain has at least one layer");
        let geometry = top.geometry();
        let mut hidden = vec![false; (to.0 - from.0) as usize];
        let start = geometry.guest_start(from).0;
        let end = geometry.guest_start(to).0.min(top.size());
        let mut at = start;
        while at < end {
            let (source, run) = below.resolve(at, end - at)?;
            if matches!(source, Source::Layer(..)) {
                let first = ((at - start) / geometry.cluster_size()) as usize;
                let last = geometry.clusters(at + run - start) as usize;
                hidden
                    .get_mut(first..last)
                    .into_iter()
                    .flatten()
                    .for_each(|hidden| *hidden = true);
            }
            at += run;
        }
        Ok(hidden)
    }
}

/// Whether a cleared entry still refers to the cluster of the old one.
fn keeps_space(new: u64) -> bool {
    new > 1
}
