//! Counting all references of a file and comparing them with its refcounts: what `qemu-img check` does.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};

use super::entry::{L1Entry, L2Entry};
use super::extents::Extents;
use super::fault::Fault;
use super::geometry::{ENTRY, Geometry, HostCluster, HostOffset};
use super::layer::{Layer, read_table};
use crate::error::DiskError;

/// Corruptions that are described; beyond so many the inspection ends.
const DESCRIBED: usize = 100;
/// Clusters with too high a count that are remembered; the others stay as they are.
const EXCESS: usize = 65536;
/// Clusters in a page of counts.
const PAGE: u64 = 4096;

/// Numbers for clusters, zero where none was set.
#[derive(Debug, Default)]
struct Counts {
    pages: BTreeMap<u64, Box<[u16]>>,
}

impl Counts {
    fn get(&self, cluster: u64) -> u16 {
        let page = self.pages.get(&(cluster / PAGE));
        page.and_then(|page| page.get((cluster % PAGE) as usize))
            .copied()
            .unwrap_or(0)
    }

    fn change(&mut self, cluster: u64, change: impl FnOnce(u16) -> u16) {
        let page = self
            .pages
            .entry(cluster / PAGE)
            .or_insert_with(|| vec![0; PAGE as usize].into());
        if let Some(count) = page.get_mut((cluster % PAGE) as usize) {
            *count = change(*count);
        }
    }
}

/// What an inspection found.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    /// The corruptions, in words, up to a limit.
    pub(crate) corruptions: Vec<String>,
    /// Clusters that are counted, but that nothing refers to.
    pub(crate) leaks: Extents,
    /// Clusters that are counted more often than they are referred to, and how often that is.
    pub(crate) excess: Vec<(u64, u16)>,
    /// All clusters of both kinds.
    pub(crate) leaked: u64,
    /// Guest clusters that have data in this file.
    pub(crate) allocated: u64,
    /// Clusters below the file's end that nothing refers to, leaks included.
    pub(crate) unused: Extents,
    /// Length of the file in clusters.
    pub(crate) end: u64,
    /// Whether something that is referred to ends beyond the end of the file. It reads as zeroes there, which other
    /// programs make use of; a layer of the store never ends so.
    pub(crate) is_cut: bool,
}

struct Inspector<'a> {
    layer: &'a Layer,
    geometry: Geometry,
    /// Length of the file in bytes.
    len: u64,
    found: Inspection,
    /// By the tables.
    referred: Counts,
    /// By the refcount blocks.
    counted: Counts,
    /// Clusters whose entry does not say `copied`; it would have to if the count were corrected to one.
    uncopied: BTreeSet<u64>,
}

impl Layer {
    /// Reads all tables of the file, as they are on disk.
    pub(crate) fn inspect(&self) -> Result<Inspection, DiskError> {
        let header = self.header();
        if header.snapshots != 0 {
            return Err(self.fault(Fault::InternalSnapshots(header.snapshots)));
        }
        if header.bitmaps {
            return Err(self.fault(Fault::Bitmaps));
        }
        let mut inspector = Inspector {
            layer: self,
            geometry: self.geometry(),
            len: self.host().length()?,
            found: Inspection::default(),
            referred: Counts::default(),
            counted: Counts::default(),
            uncopied: BTreeSet::new(),
        };
        inspector.run()?;
        Ok(inspector.found)
    }
}

impl Inspector<'_> {
    fn run(&mut self) -> Result<(), DiskError> {
        let header = self.layer.header();
        self.refer("header", HostOffset(0), 1);
        let l1_bytes = header.l1.entries.saturating_mul(ENTRY);
        self.refer("L1 table", header.l1.at, l1_bytes);
        let table_bytes = header.refcount_table.entries.saturating_mul(ENTRY);
        self.refer("refcount table", header.refcount_table.at, table_bytes);
        self.read_counts()?;
        for raw in read_table(self.layer.host(), header.l1.at, header.l1.entries)? {
            if self.is_hopeless() {
                return Ok(());
            }
            match L1Entry::decode(raw, self.geometry) {
                Ok(None) => {}
                Ok(Some(entry)) => self.read_l2(entry)?,
                Err(fault) => self.corruption(fault.to_string()),
            }
        }
        self.compare();
        Ok(())
    }

    fn is_hopeless(&self) -> bool {
        self.found.corruptions.len() >= DESCRIBED
    }

    fn corruption(&mut self, words: String) {
        if !self.is_hopeless() {
            self.found.corruptions.push(words);
        }
    }

    /// Counts a reference to each cluster of a range of bytes. Whether it begins inside of the file.
    fn refer(&mut self, what: &str, at: HostOffset, bytes: u64) -> bool {
        if at.0 >= self.len {
            self.corruption(format!(
                "a {what} lies at {:#x}, beyond the end of the file",
                at.0
            ));
            return false;
        }
        let first = self.geometry.host_cluster(at).0;
        let last = HostOffset(at.0.saturating_add(bytes.saturating_sub(1)));
        self.found.is_cut |= last.0 >= self.len;
        for cluster in first..=self.geometry.host_cluster(last).0 {
            self.referred.change(cluster, |count| count.saturating_add(1));
        }
        true
    }

    /// The same for a table of one cluster. Whether it is to be read: one that is named a second time (which only
    /// internal snapshots do) is a corruption, and reading it again and again would take for ever.
    fn refer_table(&mut self, what: &str, at: HostOffset) -> bool {
        if self.referred.get(self.geometry.host_cluster(at).0) != 0 {
            self.corruption(format!("the {what} at {:#x} is in use already", at.0));
            return false;
        }
        self.refer(what, at, self.geometry.cluster_size())
    }

    /// All refcount blocks (qcow2.rst, "Refcount table": bits 9 to 63 are the offset).
    fn read_counts(&mut self) -> Result<(), DiskError> {
        let header = self.layer.header();
        let order = header.refcount_order;
        let size = self.geometry.cluster_size();
        // A block's entries: its bits, divided by the bits of one entry.
        let per_block = size.saturating_mul(8).checked_shr(order).unwrap_or(0);
        let table = read_table(
            self.layer.host(),
            header.refcount_table.at,
            header.refcount_table.entries,
        )?;
        for (index, place) in (0_u64..).zip(table) {
            if place == 0 {
                continue;
            }
            if self.is_hopeless() {
                break;
            }
            if self.geometry.within(place) != 0 {
                self.corruption(format!("a refcount block lies at {place:#x}, not at a cluster"));
                continue;
            }
            if !self.refer_table("refcount block", HostOffset(place)) {
                continue;
            }
            let mut bytes = vec![0; size as usize];
            self.layer.host().read_bytes_or_zero(place, &mut bytes)?;
            let first = index.saturating_mul(per_block);
            for (cluster, nth) in (first..).zip(0..per_block) {
                let count = count_at(&bytes, nth, order);
                if count != 0 {
                    self.counted.change(cluster, |_| count);
                }
            }
        }
        Ok(())
    }

    fn check_copied(&mut self, what: &str, at: HostOffset, copied: bool) {
        let cluster = self.geometry.host_cluster(at).0;
        let count = self.counted.get(cluster);
        if !copied && self.uncopied.len() <= EXCESS {
            self.uncopied.insert(cluster);
        }
        if copied != (count == 1) {
            let word = if copied { "says" } else { "does not say" };
            let at = at.0;
            self.corruption(format!(
                "the entry of the {what} at {at:#x} {word} `copied`, its count is {count}"
            ));
        }
    }

    fn read_l2(&mut self, entry: L1Entry) -> Result<(), DiskError> {
        let size = self.geometry.cluster_size();
        if !self.refer_table("L2 table", entry.table) {
            return Ok(());
        }
        self.check_copied("L2 table", entry.table, entry.copied);
        let version = self.layer.header().version;
        for raw in read_table(self.layer.host(), entry.table, self.geometry.l2_entries())? {
            if self.is_hopeless() {
                return Ok(());
            }
            match L2Entry::decode(raw, self.geometry, version) {
                Ok(L2Entry::Data { host, copied }) => {
                    self.found.allocated = self.found.allocated.saturating_add(1);
                    if self.refer("data cluster", host, size) {
                        self.check_copied("data cluster", host, copied);
                    }
                }
                Ok(L2Entry::Zero { host: Some(host) }) => {
                    self.refer("zero cluster", host, size);
                }
                Ok(L2Entry::Compressed { start, len }) => {
                    self.found.allocated = self.found.allocated.saturating_add(1);
                    self.refer("compressed cluster", start, len);
                }
                Ok(L2Entry::Unallocated | L2Entry::Zero { host: None }) => {}
                Err(fault) => self.corruption(fault.to_string()),
            }
        }
        Ok(())
    }

    fn compare(&mut self) {
        self.found.end = self.geometry.clusters(self.len);
        let pages: BTreeSet<u64> = self
            .referred
            .pages
            .keys()
            .chain(self.counted.pages.keys())
            .copied()
            .collect();
        let mut next_unused = 0;
        for page in pages {
            let first = page.saturating_mul(PAGE);
            for cluster in first..first.saturating_add(PAGE) {
                let (referred, counted) = (self.referred.get(cluster), self.counted.get(cluster));
                if counted < referred {
                    let at = self.geometry.host_start(HostCluster(cluster)).0;
                    self.corruption(format!(
                        "cluster at {at:#x}: {referred} references, count {counted}"
                    ));
                } else if counted > referred {
                    self.found.leaked = self.found.leaked.saturating_add(1);
                    match referred {
                        0 => self.found.leaks.insert(cluster, 1),
                        _ if self.uncopied.len() > EXCESS || self.uncopied.contains(&cluster) => {}
                        _ if self.found.excess.len() >= EXCESS => {}
                        _ => self.found.excess.push((cluster, referred)),
                    }
                }
                if referred != 0 {
                    self.found
                        .unused
                        .insert(next_unused, cluster.saturating_sub(next_unused));
                    next_unused = cluster.saturating_add(1);
                }
            }
        }
        self.found
            .unused
            .insert(next_unused, self.found.end.saturating_sub(next_unused));
    }
}

/// One entry of a refcount block; widths below a byte are packed from the least significant bit on. Counts
/// beyond 65535 are as good as 65535 here.
fn count_at(block: &[u8], nth: u64, order: u32) -> u16 {
    if order < 3 {
        let width = 1_u64.checked_shl(order).unwrap_or(1);
        let bit = nth.saturating_mul(width);
        let byte = block.get((bit / 8) as usize).copied().unwrap_or(0);
        let mask = 1_u64.checked_shl(width as u32).unwrap_or(0).wrapping_sub(1);
        let value = u64::from(byte).checked_shr((bit % 8) as u32).unwrap_or(0) & mask;
        return value as u16;
    }
    let bytes = 1_u64.checked_shl(order.saturating_sub(3)).unwrap_or(1);
    let at = nth.saturating_mul(bytes) as usize;
    let field = block
        .get(at..)
        .and_then(|rest| rest.get(..bytes as usize))
        .unwrap_or_default();
    let value = field
        .iter()
        .fold(0_u64, |value, byte| value.wrapping_shl(8) | u64::from(*byte));
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_every_width_are_read() {
        let block = [0b1110_0100, 0x12, 0x34, 0xff, 0, 0, 0, 9];
        assert_eq!(count_at(&block, 2, 0), 1);
        assert_eq!(count_at(&block, 3, 1), 3);
        assert_eq!(count_at(&block, 2, 2), 2);
        assert_eq!(count_at(&block, 1, 3), 0x12);
        assert_eq!(count_at(&block, 1, 4), 0x34ff);
        assert_eq!(count_at(&block, 1, 5), 9);
        assert_eq!(count_at(&block, 0, 6), u16::MAX);
        assert_eq!(count_at(&block, 99, 6), 0);
    }
}
