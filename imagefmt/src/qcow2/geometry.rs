//! Addresses and sizes within a qcow2 file, each kind its own type.
//!
//! qcow2 has two address spaces, the guest's disk and the host's file, cut into clusters of the same size.
//! Mixing them up destroys data, so they never are plain numbers.

/// A byte offset on the guest's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GuestOffset(pub(crate) u64);

/// A byte offset in the host's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostOffset(pub(crate) u64);

/// The number of a cluster of the guest's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GuestCluster(pub(crate) u64);

/// The number of a cluster of the host's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostCluster(pub(crate) u64);

/// Bytes of one table entry.
pub(crate) const ENTRY: u64 = 8;

/// The most entries of an L2 table that are read, cached and written as one piece: 4 KiB.
const SLICE_ENTRIES: u64 = 512;

/// The cluster size, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    bits: u32,
}

impl Geometry {
    /// The smallest and largest cluster, as powers of two (QEMU's `MIN_CLUSTER_BITS`, `MAX_CLUSTER_BITS`).
    pub(crate) const BITS: std::ops::RangeInclusive<u32> = 9..=21;

    /// `None` outside of the format's limits.
    pub(crate) const fn new(bits: u32) -> Option<Self> {
        if bits >= *Self::BITS.start() && bits <= *Self::BITS.end() {
            Some(Self { bits })
        } else {
            None
        }
    }

    /// log2 of the cluster size.
    pub(crate) const fn bits(self) -> u32 {
        self.bits
    }

    /// Bytes in a cluster.
    pub(crate) const fn cluster_size(self) -> u64 {
        1 << self.bits
    }

    /// Entries in an L2 table.
    pub(crate) const fn l2_entries(self) -> u64 {
        self.cluster_size() / ENTRY
    }

    /// Entries in a slice: a piece of an L2 table that is handled as one.
    pub(crate) const fn slice_entries(self) -> u64 {
        if self.l2_entries() < SLICE_ENTRIES {
            self.l2_entries()
        } else {
            SLICE_ENTRIES
        }
    }

    /// L1 entries that a disk of `size` bytes needs.
    pub(crate) const fn l1_entries(self, size: u64) -> u64 {
        size.div_ceil(self.cluster_size() * self.l2_entries())
    }

    /// Clusters that `bytes` bytes take.
    pub(crate) const fn clusters(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster_size())
    }

    /// How far into its cluster an offset lies.
    pub(crate) const fn within(self, offset: u64) -> u64 {
        offset & (self.cluster_size() - 1)
    }

    /// The cluster that holds a guest offset.
    pub(crate) const fn guest_cluster(self, at: GuestOffset) -> GuestCluster {
        GuestCluster(at.0 >> self.bits)
    }

    /// Where a guest cluster starts.
    pub(crate) const fn guest_start(self, cluster: GuestCluster) -> GuestOffset {
        GuestOffset(cluster.0 << self.bits)
    }

    /// The cluster that holds a host offset.
    pub(crate) const fn host_cluster(self, at: HostOffset) -> HostCluster {
        HostCluster(at.0 >> self.bits)
    }

    /// Where a host cluster starts. Entries hold offsets below 2^56, so this cannot overflow for a cluster
    /// that came from one.
    pub(crate) const fn host_start(self, cluster: HostCluster) -> HostOffset {
        HostOffset(cluster.0 << self.bits)
    }

    /// Which entry of the L1 table leads to a guest cluster.
    pub(crate) const fn l1_index(self, cluster: GuestCluster) -> usize {
        (cluster.0 / self.l2_entries()) as usize
    }

    /// How many guest clusters from this one on its L2 table maps.
    pub(crate) const fn left_in_table(self, cluster: GuestCluster) -> u64 {
        self.l2_entries() - cluster.0 % self.l2_entries()
    }

    /// The slice that holds a guest cluster's entry, counted over the whole disk.
    pub(crate) const fn slice(self, cluster: GuestCluster) -> u64 {
        cluster.0 / self.slice_entries()
    }

    /// Where in its slice a guest cluster's entry is.
    pub(crate) const fn slice_index(self, cluster: GuestCluster) -> usize {
        (cluster.0 % self.slice_entries()) as usize
    }

    /// Which entry of the L1 table leads to a slice, and where in that L2 table the slice starts, in bytes.
    pub(crate) const fn slice_place(self, slice: u64) -> (usize, u64) {
        let per_table = self.l2_entries() / self.slice_entries();
        (
            (slice / per_table) as usize,
            slice % per_table * self.slice_entries() * ENTRY,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tebibyte_needs_sixteen_kibibytes_of_l1() {
        let geometry = Geometry::new(16).unwrap();
        assert_eq!(geometry.l1_entries(1 << 40) * ENTRY, 16384);
        assert_eq!(geometry.l1_entries((1 << 29) + 512), 2);
    }

    #[test]
    fn slices_cover_their_tables() {
        for bits in Geometry::BITS {
            let geometry = Geometry::new(bits).unwrap();
            let last_of_third = GuestCluster(3 * geometry.l2_entries() - 1);
            let (l1, at) = geometry.slice_place(geometry.slice(last_of_third));
            let index = geometry.slice_index(last_of_third) as u64;
            assert_eq!((l1, at + index * ENTRY), (2, geometry.cluster_size() - ENTRY));
        }
        assert!(Geometry::new(8).is_none() && Geometry::new(22).is_none());
    }
}
