//! Where a layer has the bytes of a guest range, by its tables.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::entry::L2Entry;
use super::fault::Fault;
use super::geometry::{GuestOffset, HostOffset};
use super::layer::Layer;
use crate::error::DiskError;

/// Where the bytes of a guest range are, as far as one layer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// Not in this layer.
    Unallocated,
    /// Zeroes.
    Zero,
    /// In the file, from this offset on.
    Data {
        /// The first byte.
        host: HostOffset,
        /// Whether it may be overwritten in place.
        copied: bool,
    },
    /// In this compressed cluster; the range never crosses it.
    Compressed {
        /// Where the compressed bytes start.
        start: HostOffset,
        /// How long they are at most.
        len: u64,
    },
}

impl Layer {
    /// Where the bytes from `offset` on are, and for how many of the next `len` bytes (at least one) the same
    /// answer holds. Beyond the disk's end are zeroes.
    pub(crate) fn map(&self, offset: u64, len: u64) -> Result<(Mapping, u64), DiskError> {
        let geometry = self.geometry();
        let size = self.size();
        if offset >= size {
            return Ok((Mapping::Zero, len));
        }
        let len = len.min(size.saturating_sub(offset));
        let cluster = geometry.guest_cluster(GuestOffset(offset));
        let within = geometry.within(offset);
        let slice = geometry.slice(cluster);
        let index = geometry.slice_index(cluster);
        let wanted = geometry.clusters(within.saturating_add(len)) as usize;
        let found = self.with_slice(slice, |entries| {
            let here = entries.get(index..).unwrap_or_default();
            self.run(here.get(..wanted.min(here.len())).unwrap_or_default())
        })?;
        let Some(found) = found else {
            // No L2 table: nothing is allocated up to the end of what it would cover.
            let covered = geometry.left_in_table(cluster);
            let run = covered
                .saturating_mul(geometry.cluster_size())
                .saturating_sub(within);
            return Ok((Mapping::Unallocated, run.min(len)));
        };
        let (entry, clusters) = found.map_err(|fault| self.fault(fault))?;
        let run = clusters
            .saturating_mul(geometry.cluster_size())
            .saturating_sub(within)
            .min(len);
        let mapping = match entry {
            L2Entry::Unallocated => Mapping::Unallocated,
            L2Entry::Zero { .. } => Mapping::Zero,
            L2Entry::Data { host, copied } => {
                // The last cluster of the run: the others begin before it.
                let reach = clusters.saturating_sub(1).saturating_mul(geometry.cluster_size());
                self.check_begins(HostOffset(host.0.saturating_add(reach)))?;
                Mapping::Data {
                    host: HostOffset(host.0.saturating_add(within)),
                    copied,
                }
            }
            L2Entry::Compressed { start, len } => {
                self.check_begins(start)?;
                Mapping::Compressed { start, len }
            }
        };
        Ok((mapping, run))
    }

    fn check_begins(&self, at: HostOffset) -> Result<(), DiskError> {
        let len = self.known_len();
        if at.0 < len || self.writer.is_some() {
            return Ok(());
        }
        Err(self.fault(Fault::BeyondEnd {
            table: "data cluster",
            offset: at.0,
            len,
        }))
    }

    /// The first entry, and how many clusters from it on are mapped alike and, if they hold data, one after
    /// the other in the file. At least one.
    fn run(&self, entries: &[u64]) -> Result<(L2Entry, u64), Fault> {
        let (geometry, version) = (self.geometry(), self.header.version);
        let mut decoded = entries.iter().map(|raw| L2Entry::decode(*raw, geometry, version));
        let first = decoded.next().unwrap_or(Ok(L2Entry::Unallocated))?;
        let mut count = 1;
        for next in decoded {
            let alike = match (first, next) {
                (L2Entry::Unallocated, Ok(L2Entry::Unallocated)) => true,
                (L2Entry::Zero { .. }, Ok(L2Entry::Zero { .. })) => true,
                (
                    L2Entry::Data { host, copied },
                    Ok(L2Entry::Data {
                        host: next,
                        copied: next_copied,
                    }),
                ) => {
                    copied == next_copied
                        && next.0
                            == host
                                .0
                                .saturating_add(u64::saturating_mul(count, geometry.cluster_size()))
                }
                _ => false,
            };
            if !alike {
                break;
            }
            count = count.saturating_add(1);
        }
        Ok((first, count))
    }
}
