//! Disks of several tables: what crosses from a piece of a table into the next one, and from a table into the next one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::harness::{CLUSTER, Folder, assert_clean};
use super::operations::sector;
use super::simulated::{Event, World};
use crate::Chain;
use crate::disk::{Access, Disk, Unmap, read_exact_at, write_all_at};
use crate::qcow2::{Layer, format};

/// What a piece of a table maps, which is read and written as a whole.
const PIECE: u64 = 512 * CLUSTER;
/// Sixteen pieces are a table: this disk has two of them, and a little of a third.
const SECTORS: u64 = 32 * PIECE / 512 + 5;
/// Where something happens: at the beginnings of these pieces.
const EDGES: [u64; 8] = [0, 1, 2, 15, 16, 17, 31, 32];

/// A step on a range of sectors.
#[derive(Debug, Clone)]
enum Step {
    Write(u64, u64),
    Discard(u64, u64),
    Zero(u64, u64, bool),
    Flush,
    Freeze,
    Reopen,
}

fn place() -> impl Strategy<Value = u64> {
    (prop::sample::select(&EDGES[..]), 0..400_u64)
        .prop_map(|(edge, more)| (edge * PIECE / 512 + more).saturating_sub(200).min(SECTORS))
}

/// Up to a few rows of new clusters.
fn short() -> impl Strategy<Value = (u64, u64)> {
    let len = prop_oneof![1..8_u64, 1..300_u64, Just(128), 1..2600_u64];
    (place(), len).prop_map(|(at, len)| (at, len.min(SECTORS - at)))
}

/// Up to the whole disk.
fn long() -> impl Strategy<Value = (u64, u64)> {
    (place(), place()).prop_map(|(one, other)| (one.min(other), one.abs_diff(other)))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => short().prop_map(|(at, len)| Step::Write(at, len)),
        2 => prop_oneof![short(), long()].prop_map(|(at, len)| Step::Discard(at, len)),
        2 => (prop_oneof![short(), long()], any::<bool>()).prop_map(|((at, len), unmap)| Step::Zero(at, len, unmap)),
        1 => Just(Step::Flush),
        1 => Just(Step::Freeze),
        1 => Just(Step::Reopen),
    ]
}

struct Large {
    world: World,
    disk: Option<Chain>,
    /// The sectors that are not zero: the number of the write that filled them.
    sectors: BTreeMap<u64, u64>,
    writes: u64,
}

impl Large {
    fn new() -> Self {
        let world = World::default();
        format(&world.file(), None, SECTORS * 512).unwrap();
        let mut large = Self {
            world,
            disk: None,
            sectors: BTreeMap::new(),
            writes: 0,
        };
        large.open();
        large
    }

    fn open(&mut self) {
        self.disk = None;
        let hosts = (0..self.world.files()).map(|nth| self.world.host(nth)).collect();
        self.disk = Some(Chain::open_hosts(hosts, Access::ReadWrite).unwrap());
    }

    fn clear(&mut self, from: u64, to: u64) {
        let gone: Vec<u64> = self
            .sectors
            .range(from..to.max(from))
            .map(|(at, _)| *at)
            .collect();
        for at in gone {
            self.sectors.remove(&at);
        }
    }

    fn step(&mut self, step: &Step) {
        let disk = self.disk.as_ref().unwrap();
        match *step {
            Step::Write(at, len) => {
                self.writes += 1;
                write_all_at(disk, at * 512, &sector(self.writes).repeat(len as usize)).unwrap();
                self.sectors.extend((at..at + len).map(|at| (at, self.writes)));
            }
            Step::Discard(at, len) => {
                disk.discard(at * 512, len * 512).unwrap();
                let whole = CLUSTER / 512;
                let end = at + len;
                let to = if end == SECTORS { end } else { end / whole * whole };
                self.clear(at.next_multiple_of(whole), to);
            }
            Step::Zero(at, len, unmap) => {
                let unmap = if unmap { Unmap::Allowed } else { Unmap::Forbidden };
                disk.write_zeroes(at * 512, len * 512, unmap).unwrap();
                self.clear(at, at + len);
            }
            Step::Flush => disk.flush().unwrap(),
            Step::Freeze => {
                let below = World::name(self.world.files() - 1);
                let overlay = self.world.file();
                format(&overlay, Some(&below), SECTORS * 512).unwrap();
                disk.sync_sealing(disk.swap(disk.prepare_host(overlay).unwrap()))
                    .unwrap();
            }
            Step::Reopen => self.open(),
        }
    }

    /// Compares what lies around the edges.
    fn compare(&self) {
        for edge in EDGES {
            let from = (edge * PIECE / 512).saturating_sub(300);
            let to = (from + 3200).min(SECTORS);
            let mut seen = vec![0xa5; ((to - from) * 512) as usize];
            read_exact_at(self.disk.as_ref().unwrap(), from * 512, &mut seen).unwrap();
            for (at, seen) in (from..).zip(seen.chunks(512)) {
                let want = sector(self.sectors.get(&at).copied().unwrap_or(0));
                assert!(
                    seen == want,
                    "sector {at}, {} after piece {edge} begins",
                    at - from
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn ranges_that_cross_tables_and_their_pieces_read_back(steps in prop::collection::vec(step(), 1..24)) {
        let mut large = Large::new();
        steps.iter().for_each(|step| large.step(step));
        large.compare();
        large.open();
        large.compare();
        large.disk = None;
        for nth in 0..large.world.files() {
            let found = Layer::open(large.world.host(nth)).unwrap().inspect().unwrap();
            prop_assert_eq!(found.corruptions, Vec::<String>::new());
            prop_assert_eq!(found.leaked, 0);
        }
    }
}

#[test]
fn tables_that_wait_for_a_flush_are_written_before_they_are_too_many() {
    let world = World::default();
    format(&world.file(), None, 1 << 40).unwrap();
    let disk = Chain::open_hosts(vec![world.host(0)], Access::ReadWrite).unwrap();
    world.record();
    let syncs = || {
        let tape = world.tape();
        tape.iter()
            .filter(|event| matches!(event, Event::Sync(_)))
            .count()
    };
    // Half of the pieces that are kept may be dirty.
    for nth in 0..=512 {
        write_all_at(&disk, nth * PIECE, &[1; 512]).unwrap();
    }
    assert_eq!(syncs(), 0);
    write_all_at(&disk, 513 * PIECE, &[1; 512]).unwrap();
    assert_ne!(syncs(), 0);
    // The same for what is discarded.
    drop(disk);
    format(&world.file(), Some("0"), 1 << 40).unwrap();
    let hosts = vec![world.host(0), world.host(1)];
    let disk = Chain::open_hosts(hosts, Access::ReadWrite).unwrap();
    world.record();
    disk.discard(0, 513 * PIECE).unwrap();
    assert_eq!(syncs(), 0);
    disk.discard(513 * PIECE, CLUSTER).unwrap();
    assert_ne!(syncs(), 0);
}

#[test]
fn a_file_that_grows_beyond_its_block_of_counts_gets_another() {
    let folder = Folder::new();
    let path = folder.base("a", 1 << 40);
    // The next table lies at the file's end, where no block counts yet.
    folder.file("a").set_len(2 << 30).unwrap();
    let disk = folder.open("a");
    write_all_at(&disk, 1 << 30, &[1; 512]).unwrap();
    disk.flush().unwrap();
    write_all_at(&disk, 1 << 35, &[2; 512]).unwrap();
    drop(disk);
    assert_clean(&path);
    let disk = folder.open("a");
    for (at, byte) in [(1 << 30, 1), (1 << 35, 2)] {
        let mut seen = [0; 512];
        read_exact_at(&disk, at, &mut seen).unwrap();
        assert_eq!(seen, [byte; 512]);
    }
}
