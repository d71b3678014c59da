//! Faults that are planted into a tape: a host that only says it synced, or writes in another order, or an answer that
//! comes too early. Each of them must be found, else the search is blind.

use std::collections::HashSet;

use super::ALL;
use super::cuts::cut_everywhere;
use super::life::{Life, fixed};
use crate::tests::harness::CLUSTER;
use crate::tests::simulated::{Change, Event};

/// The life with the events of its tape in another order; those that are not in `order` are gone. Promises come
/// after what they came after, events that have been `moved` apart.
fn reordered(life: &Life, order: &[usize], moved: &HashSet<usize>) -> Life {
    let mut other = life.clone();
    other.tape = order.iter().map(|number| life.tape[*number].clone()).collect();
    for promise in &mut other.promises {
        let is_before = |number: &usize| *number < promise.at && !moved.contains(number);
        promise.at = order.iter().rposition(is_before).map_or(0, |last| last + 1);
    }
    other
}

fn is_sync(life: &Life, number: usize) -> bool {
    matches!(life.tape.get(number), Some(Event::Sync(_)))
}

/// The first cut of the life that leaves something wrong.
fn found(life: &Life) -> Option<String> {
    cut_everywhere(life, ALL).found
}

/// Whether a sync makes anything durable that is promised later: not if nothing of its file waits, not if the file is
/// synced again at once, and not at the end.
fn is_needed(life: &Life, sync: usize) -> bool {
    let file = match life.tape.get(sync) {
        Some(Event::Sync(file)) => *file,
        _ => return false,
    };
    let before = life.tape.iter().take(sync).rev();
    let mut of_file =
        before.filter(|event| matches!(event, Event::Change(of, _) | Event::Sync(of) if *of == file));
    let waits = matches!(of_file.next(), Some(Event::Change(..)));
    let again = matches!(life.tape.get(sync + 1), Some(Event::Sync(of)) if *of == file);
    waits && !again && life.promises.last().is_some_and(|last| sync < last.at)
}

fn every_dropped_sync_is_found(lives: &[Life]) {
    let (mut needed, mut missed) = (0, Vec::new());
    for life in lives {
        for dropped in (0..life.tape.len()).filter(|number| is_needed(life, *number)) {
            let order: Vec<usize> = (0..life.tape.len()).filter(|number| *number != dropped).collect();
            needed += 1;
            if found(&reordered(life, &order, &HashSet::new())).is_none() {
                missed.push((life.name.clone(), dropped));
            }
        }
    }
    println!(
        "figure: {} of {needed} dropped syncs found",
        needed - missed.len()
    );
    assert_eq!(missed, []);
    assert!(needed > 0, "no sync was dropped");
}

#[test]
fn a_dropped_sync_is_found() {
    every_dropped_sync_is_found(&fixed()[..1]);
}

#[test]
#[ignore = "minutes: `make torture` runs it"]
fn torture_finds_every_dropped_sync() {
    every_dropped_sync_is_found(&fixed());
}

/// Counts reach the file after the tables that rely on them: between the first and the second sync of a commit.
fn with_counts_last(life: &Life) -> Life {
    let is_count =
        |event: &Event| matches!(event, Event::Change(_, Change::Write(at, _)) if at / CLUSTER == 2);
    let moved: HashSet<usize> = (0..life.tape.len())
        .filter(|number| is_count(&life.tape[*number]))
        .collect();
    let (mut order, mut young, mut old) = (Vec::new(), Vec::new(), Vec::new());
    for (number, event) in life.tape.iter().enumerate() {
        if matches!(event, Event::Sync(_)) {
            order.append(&mut old);
            old.append(&mut young);
        }
        match moved.contains(&number) {
            true => young.push(number),
            false => order.push(number),
        }
    }
    order.extend(old.into_iter().chain(young));
    reordered(life, &order, &moved)
}

#[test]
fn counts_that_are_written_after_the_tables_are_found() {
    for life in fixed() {
        let found = found(&with_counts_last(&life)).unwrap();
        assert!(found.contains("count is 0"), "{}: {found}", life.name);
    }
}

/// What a sync is waited for is promised when that sync begins.
fn promised_early(life: &Life) -> Life {
    let mut other = life.clone();
    for promise in &mut other.promises {
        if promise.at > 0 && is_sync(life, promise.at - 1) {
            promise.at -= 1;
        }
    }
    other
}

#[test]
fn an_answer_before_its_sync_is_found() {
    for life in fixed() {
        assert!(found(&promised_early(&life)).is_some(), "{}", life.name);
    }
}
