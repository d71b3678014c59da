//! Random operations on a disk, and the model that says what it must read afterwards.

use proptest::prelude::*;

use super::harness::CLUSTER;
use crate::disk::{Disk, DiskError, Segment, Unmap};

/// The disk of the random tests: small, its end not at a cluster.
pub(crate) const SIZE: u64 = 24 * CLUSTER + 5 * 512;

/// One step.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write {
        at: u64,
        len: u64,
    },
    Discard {
        at: u64,
        len: u64,
    },
    Zero {
        at: u64,
        len: u64,
        unmap: bool,
    },
    Flush,
    /// A new overlay; whether the old top is made durable at once.
    Freeze {
        sync: bool,
    },
    Grow {
        by: u64,
    },
}

/// Ranges in sectors, often at the edges of clusters.
fn range() -> impl Strategy<Value = (u64, u64)> {
    let sectors = SIZE / 512;
    let start = prop_oneof![0..sectors, (0..24_u64).prop_map(|cluster| cluster * 128)];
    let len = prop_oneof![1..8_u64, 1..300_u64, Just(128), Just(256)];
    (start, len).prop_map(move |(start, len)| (start * 512, len.min(sectors - start) * 512))
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => range().prop_map(|(at, len)| Step::Write { at, len }),
        3 => range().prop_map(|(at, len)| Step::Discard { at, len }),
        3 => (range(), any::<bool>()).prop_map(|((at, len), unmap)| Step::Zero { at, len, unmap }),
        3 => Just(Step::Flush),
        1 => any::<bool>().prop_map(|sync| Step::Freeze { sync }),
        1 => (1..300_u64).prop_map(|sectors| Step::Grow { by: sectors * 512 }),
    ]
}

/// What each sector may hold. Every write has a number of its own, so a sector is known by its first bytes.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// What a read sees now.
    pub(crate) now: Vec<u64>,
    /// What else a power cut may leave: what was there at the last flush, and everything since.
    since: Vec<Vec<u64>>,
    writes: u64,
}

impl Model {
    pub(crate) fn new(size: u64) -> Self {
        let sectors = (size / 512) as usize;
        Self {
            now: vec![0; sectors],
            since: vec![Vec::new(); sectors],
            writes: 0,
        }
    }

    fn set(&mut self, at: u64, len: u64, value: u64) {
        for sector in (at / 512) as usize..((at + len) / 512) as usize {
            let old = std::mem::replace(&mut self.now[sector], value);
            self.since[sector].push(old);
        }
    }

    pub(crate) fn flushed(&mut self) {
        self.since.iter_mut().for_each(Vec::clear);
    }

    /// The bytes that the disk must read.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.now.iter().flat_map(|value| sector(*value)).collect()
    }

    /// Takes over what a power cut has left, if it is possible at all.
    pub(crate) fn take_over(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.observe(bytes)?;
        self.flushed();
        Ok(())
    }

    /// Takes over what a read sees after a failure, if it is possible at all.
    pub(crate) fn observe(&mut self, bytes: &[u8]) -> Result<(), String> {
        for (nth, chunk) in bytes.chunks(512).enumerate() {
            let value = u64::from_le_bytes(chunk[..8].try_into().unwrap());
            if chunk != sector(value) {
                return Err(format!("sector {nth} is torn"));
            }
            if self.now[nth] != value && !self.since[nth].contains(&value) {
                return Err(format!(
                    "sector {nth} holds {value}, not {} or {:?}",
                    self.now[nth], self.since[nth]
                ));
            }
            let other = std::mem::replace(&mut self.now[nth], value);
            self.since[nth].push(other);
        }
        Ok(())
    }

    /// Does a step (all but freezing and growing) on the disk and, if that succeeds, here. After a failure
    /// the range may hold old or new bytes.
    pub(crate) fn step(&mut self, disk: &dyn Disk, step: &Step) -> Result<(), DiskError> {
        match *step {
            Step::Write { at, len } => {
                self.writes += 1;
                let value = self.writes;
                let bytes: Vec<u8> = sector(value).repeat((len / 512) as usize);
                // In pieces of odd sizes, as a guest's scattered buffers.
                let cut = (len as usize / 3) | 1;
                let pieces: Vec<_> = bytes.chunks(cut).map(Segment::from_ref).collect();
                let outcome = disk.write(at, &pieces);
                self.done(at, len, value, outcome)
            }
            Step::Discard { at, len } => {
                let outcome = disk.discard(at, len);
                let end = at + len;
                let from = at.next_multiple_of(CLUSTER);
                let to = if end == disk.size() {
                    end
                } else {
                    end / CLUSTER * CLUSTER
                };
                self.done(from, to.saturating_sub(from), 0, outcome)
            }
            Step::Zero { at, len, unmap } => {
                let unmap = if unmap { Unmap::Allowed } else { Unmap::Forbidden };
                let outcome = disk.write_zeroes(at, len, unmap);
                self.done(at, len, 0, outcome)
            }
            Step::Flush => {
                disk.flush()?;
                self.flushed();
                Ok(())
            }
            Step::Freeze { .. } | Step::Grow { .. } => Ok(()),
        }
    }

    fn done(
        &mut self,
        at: u64,
        len: u64,
        value: u64,
        outcome: Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        // After a failure the old bytes are possible, too: they are remembered as what was there since.
        self.set(at, len, value);
        outcome
    }

    pub(crate) fn grown(&mut self, size: u64) {
        let sectors = (size / 512) as usize;
        self.now.resize(sectors, 0);
        self.since.resize(sectors, Vec::new());
    }
}

/// The bytes of a sector that holds a write's number.
pub(crate) fn sector(value: u64) -> Vec<u8> {
    value.to_le_bytes().repeat(64)
}
