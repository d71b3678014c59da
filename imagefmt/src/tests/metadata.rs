//! Tables and data never share a cluster: a map of what each cluster is for, made of the file's bytes by rules of its own.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::harness::CLUSTER;
use super::operations::{Step, step};
use super::power_cut::Machine;
use super::simulated::{Change, Event};

/// What a cluster holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A table: the header, the L1 table, the refcount table, a refcount block or an L2 table.
    Table(&'static str),
    /// The guest's bytes.
    Data,
}

fn number(file: &[u8], at: u64) -> u64 {
    let bytes = file.get(at as usize..at as usize + 8);
    bytes.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()))
}

/// The place that an entry of a table names (qcow2.rst: bits 9 to 55), if it names one.
fn places(file: &[u8], table: u64, entries: u64) -> impl Iterator<Item = u64> {
    let entries = (0..entries).map(move |nth| number(file, table + nth * 8) & 0x00ff_ffff_ffff_fe00);
    entries.filter(|place| *place != 0)
}

/// What each cluster of a file is for, by its tables.
fn roles(file: &[u8]) -> BTreeMap<u64, Role> {
    let mut roles = BTreeMap::new();
    let mut claim = |at: u64, role: Role| {
        assert_eq!(at % CLUSTER, 0, "{role:?} at {at:#x}");
        let before = roles.insert(at / CLUSTER, role);
        assert_eq!(before, None, "the cluster at {at:#x} is also {role:?}");
    };
    let per_table = CLUSTER / 8;
    let (l1, l1_entries) = (number(file, 40), number(file, 36) >> 32);
    let (counts, count_clusters) = (number(file, 48), number(file, 56) >> 32);
    claim(0, Role::Table("header"));
    for at in (l1..l1 + l1_entries * 8).step_by(CLUSTER as usize) {
        claim(at, Role::Table("L1 table"));
    }
    for nth in 0..count_clusters {
        claim(counts + nth * CLUSTER, Role::Table("refcount table"));
    }
    for block in places(file, counts, count_clusters * per_table) {
        claim(block, Role::Table("refcount block"));
    }
    for table in places(file, l1, l1_entries) {
        claim(table, Role::Table("L2 table"));
        for data in places(file, table, per_table) {
            claim(data, Role::Data);
        }
    }
    roles
}

/// Whether a sector is one that the guest wrote: the same number, all over.
fn is_guests(sector: &[u8]) -> bool {
    let (words, _) = sector.as_chunks::<8>();
    words.iter().all(|word| *word == words[0])
}

/// The bytes of a change that fall into the clusters whose role stayed what it was, sector by sector.
fn look(change: &Change, before: &BTreeMap<u64, Role>, after: &BTreeMap<u64, Role>) {
    let stays = |at: u64| {
        before
            .get(&(at / CLUSTER))
            .filter(|role| after.get(&(at / CLUSTER)) == Some(role))
    };
    match change {
        Change::Write(start, bytes) => {
            for (at, sector) in (*start..).step_by(512).zip(bytes.chunks_exact(512)) {
                let empty = sector.iter().all(|byte| *byte == 0);
                match stays(at) {
                    Some(Role::Data) => {
                        assert!(is_guests(sector), "a table was written over data at {at:#x}")
                    }
                    Some(role) => assert!(
                        empty || !is_guests(sector),
                        "data was written over the {role:?} at {at:#x}"
                    ),
                    None => {}
                }
            }
        }
        Change::Punch(at, len) => {
            for place in (*at..at + len).step_by(CLUSTER as usize) {
                assert!(
                    !matches!(stays(place), Some(Role::Table(_))),
                    "a hole was cut into a table at {place:#x}"
                );
            }
        }
        Change::SetLen(len) => {
            let last = before.keys().rfind(|cluster| after.contains_key(*cluster));
            assert!(
                last.is_none_or(|last| last * CLUSTER < *len),
                "the file was cut to {len:#x}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn hazard_guest_data_never_lands_in_metadata(steps in prop::collection::vec(step(), 1..60)) {
        let mut machine = Machine::new();
        let map = |machine: &Machine| -> Vec<_> {
            (0..machine.files).map(|nth| roles(&machine.world.bytes(nth))).collect()
        };
        let mut before = map(&machine);
        for step in &steps {
            machine.world.record();
            machine.step(step).unwrap();
            let after = map(&machine);
            for event in machine.world.tape() {
                if let Event::Change(file, change) = event
                    && let (Some(before), Some(after)) = (before.get(file), after.get(file))
                {
                    look(&change, before, after);
                }
            }
            before = after;
        }
        machine.step(&Step::Flush).unwrap();
        machine.disk = None;
        let end = map(&machine);
        prop_assert!(end.iter().all(|roles| roles.len() >= 4));
    }
}

#[test]
fn a_write_into_a_table_would_be_seen() {
    let mut machine = Machine::new();
    let all = Step::Write {
        at: 0,
        len: 4 * CLUSTER,
    };
    machine.step(&all).unwrap();
    machine.step(&Step::Flush).unwrap();
    let roles = roles(&machine.world.bytes(0));
    let table = roles
        .iter()
        .find(|(_, role)| **role == Role::Table("L2 table"))
        .unwrap()
        .0;
    let planted = Change::Write(table * CLUSTER, super::operations::sector(7));
    let seen = std::panic::catch_unwind(|| look(&planted, &roles, &roles));
    assert!(seen.is_err());
    assert_eq!(roles.values().filter(|role| **role == Role::Data).count(), 4);
}
