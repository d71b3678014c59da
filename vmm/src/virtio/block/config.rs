//! Features and configuration (5.2.3, 5.2.4).

use kiln_imagefmt::Disk;

/// `seg_max` is valid.
const SEG_MAX: u64 = 1 << 2;
/// The disk is read-only.
pub(super) const READ_ONLY: u64 = 1 << 5;
/// `blk_size` is valid.
const BLK_SIZE: u64 = 1 << 6;
/// There is a write cache, and a request to flush it.
pub(super) const FLUSH: u64 = 1 << 9;
/// The topology is valid.
const TOPOLOGY: u64 = 1 << 10;
/// `num_queues` is valid.
pub(super) const SEVERAL_QUEUES: u64 = 1 << 12;
/// Discard requests.
const DISCARD: u64 = 1 << 13;
/// Write-zeroes requests.
const WRITE_ZEROES: u64 = 1 << 14;

/// Bytes of a sector, the unit of every position and count, whatever the block size.
pub(super) const SECTOR: u64 = 512;
/// Logical block size.
const BLOCK: u32 = 512;
/// Sectors of a cluster of our images: what a discard gives back at least.
const CLUSTER_SECTORS: u32 = 128;
/// Most bytes that one request reads or writes, zeroes among them: bounds how long the gate waits for it, and what a
/// chain of many descriptors over one page can ask for.
pub(super) const MAX_DATA: u64 = 64 << 20;

/// What one request may ask for in ranges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranges {
    pub(super) most: u32,
    /// Sectors of each.
    pub(super) sectors: u32,
}

/// Of a discard, which writes nothing: 64 MiB each. As many as there can be threads may be in flight, and
/// [`Disk::settle`](kiln_imagefmt::Disk::settle) says how much of it no gate waits for.
pub(super) const DISCARDS: Ranges = Ranges {
    most: 2,
    sectors: 1 << 17,
};
/// Of a write of zeroes, which may write each of them.
pub(super) const ZEROES: Ranges = Ranges {
    most: 1,
    sectors: (MAX_DATA / SECTOR) as u32,
};

/// `struct virtio_blk_config` up to the fields of write-zeroes.
const LEN: usize = 60;

/// What the driver sees of the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    sectors: u64,
    read_only: bool,
    queue_size: u16,
    queues: u16,
}

impl Config {
    pub(super) fn of(disk: &dyn Disk, queue_size: u16, queues: u16) -> Self {
        Self {
            sectors: disk.size() / SECTOR,
            read_only: disk.is_read_only(),
            queue_size,
            queues,
        }
    }

    pub(super) fn sectors(self) -> u64 {
        self.sectors
    }

    pub(super) fn features(self) -> u64 {
        let access = if self.read_only {
            READ_ONLY
        } else {
            DISCARD | WRITE_ZEROES
        };
        let several = if self.queues > 1 { SEVERAL_QUEUES } else { 0 };
        several | SEG_MAX | BLK_SIZE | FLUSH | TOPOLOGY | access
    }

    pub(super) fn bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &self.sectors.to_le_bytes());
        // Header and status take two descriptors of the queue.
        let seg_max = u32::from(self.queue_size) - 2;
        put(12, &seg_max.to_le_bytes());
        put(20, &BLOCK.to_le_bytes());
        // Physical block 2^3 logical ones; aligned; smallest good I/O 8 blocks, best a cluster.
        put(24, &[3, 0]);
        put(26, &8_u16.to_le_bytes());
        put(28, &CLUSTER_SECTORS.to_le_bytes());
        // Write-back, and not to be changed.
        put(32, &[1]);
        put(34, &self.queues.to_le_bytes());
        if !self.read_only {
            put(36, &DISCARDS.sectors.to_le_bytes());
            put(40, &DISCARDS.most.to_le_bytes());
            put(44, &CLUSTER_SECTORS.to_le_bytes());
            put(48, &ZEROES.sectors.to_le_bytes());
            put(52, &ZEROES.most.to_le_bytes());
            put(56, &[1]);
        }
        bytes
    }
}
