use super::*;

/// A layer's tables, with room for so many slices.
fn tables(limit: usize) -> Tables {
    Tables::new(Geometry::new(16).unwrap(), vec![0; 64], limit)
}

/// Adds slices as if they had just been read: each full of its number.
fn read(tables: &mut Tables, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let drops = tables.drops();
        tables.insert(number, &[number; 512], drops);
    }
}

fn write(tables: &mut Tables, number: u64, value: u64) {
    tables.change(number, |entries| entries[0] = value).unwrap();
}

/// The numbers of the slices that a commit would write.
fn numbers(changes: &Changes) -> Vec<u64> {
    let mut numbers: Vec<_> = changes.slices.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_dirty() {
    let mut tables = tables(8);
    read(&mut tables, 0..4);
    write(&mut tables, 3, 77);
    read(&mut tables, 4..100);
    assert_eq!(tables.slices.len(), 8);
    assert_eq!(tables.slice(3).unwrap()[0], 77);
    let changes = tables.take_changes();
    assert_eq!(numbers(&changes), [3]);
    tables.written(&changes, Err(()));
    let changes = tables.take_changes();
    assert_eq!(numbers(&changes), [3], "it failed: once more");
    tables.written(&changes, Ok(()));
    assert!(tables.take_changes().is_empty());
}

#[test]
fn a_slice_on_its_way_to_the_file_is_kept_until_it_is_there() {
    let mut tables = tables(4);
    read(&mut tables, 0..1);
    write(&mut tables, 0, 77);
    let changes = tables.take_changes();
    read(&mut tables, 1..50);
    assert_eq!(tables.slice(0).unwrap()[0], 77);
    tables.written(&changes, Ok(()));
    read(&mut tables, 50..100);
    assert!(tables.slice(0).is_none());
}

#[test]
fn a_slice_that_was_looked_at_of_late_outlives_the_others() {
    let mut tables = tables(4);
    read(&mut tables, 0..4);
    tables.slice(0).unwrap();
    read(&mut tables, 4..6);
    assert!(tables.slice(0).is_some() && tables.slice(1).is_none());
}

#[test]
fn slices_that_are_all_dirty_are_kept_beyond_the_limit() {
    let mut tables = tables(4);
    for number in 0..9 {
        tables.insert_empty(number);
        write(&mut tables, number, 1);
    }
    assert_eq!(numbers(&tables.take_changes()), (0..9).collect::<Vec<_>>());
}

#[test]
fn a_smaller_limit_drops_what_is_too_many_at_once() {
    let mut tables = tables(8);
    read(&mut tables, 0..8);
    tables.set_limit(3);
    assert_eq!(tables.slices.len(), 3);
    read(&mut tables, 8..20);
    assert_eq!(tables.slices.len(), 3);
}

#[test]
fn a_slice_read_before_a_drop_is_not_kept() {
    let mut tables = tables(2);
    let before = tables.drops();
    for number in 0..3 {
        tables.insert_empty(number);
    }
    tables.insert(9, &[1; 512], before);
    assert!(tables.slice(9).is_none());
}

#[test]
fn a_slice_that_is_there_is_not_replaced_by_what_the_file_had() {
    let mut tables = tables(4);
    read(&mut tables, 0..1);
    write(&mut tables, 0, 77);
    read(&mut tables, 0..1);
    tables.insert_empty(0);
    assert_eq!(tables.slice(0).unwrap()[0], 77);
}

#[test]
fn it_is_crowded_when_more_than_half_of_the_slices_are_dirty() {
    let mut tables = tables(8);
    read(&mut tables, 0..8);
    let mut crowded = Vec::new();
    for number in 0..6 {
        // Twice: what is dirty already counts once.
        write(&mut tables, number, 1);
        write(&mut tables, number, 2);
        crowded.push(tables.is_crowded());
    }
    assert_eq!(crowded, [false, false, false, false, true, true]);
    let changes = tables.take_changes();
    assert!(!tables.is_crowded());
    // One of them is changed again meanwhile, and none could be written: six are dirty, not seven.
    write(&mut tables, 0, 3);
    tables.written(&changes, Err(()));
    assert_eq!(tables.dirty, 6);
    tables.take_changes();
    assert_eq!(tables.dirty, 0);
}

#[test]
fn an_entry_that_was_not_written_yet_is_empty_in_the_file() {
    let mut tables = Tables::new(Geometry::new(16).unwrap(), vec![1 << 16, 0], 4);
    tables.set_l1_entry(1, 2 << 16);
    tables.set_l1_entry(2, 3 << 16);
    assert_eq!(tables.l1(), [1 << 16, 2 << 16], "it has no third entry");
    assert_eq!(tables.l1_on_disk(), [1 << 16, 0]);
    let changes = tables.take_changes();
    assert_eq!(changes.l1, [(1, 2 << 16)]);
    assert!(!changes.is_empty());
    tables.written(&changes, Err(()));
    assert_eq!(tables.l1_on_disk(), [1 << 16, 0]);
    let changes = tables.take_changes();
    tables.written(&changes, Ok(()));
    assert_eq!(tables.l1_on_disk(), [1 << 16, 2 << 16]);
    tables.grow_l1(4);
    tables.grow_l1(3);
    assert_eq!(tables.l1(), [1 << 16, 2 << 16, 0, 0]);
}
