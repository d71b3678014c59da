//! Every moment at which a process can be killed or the power can fail, one after the other.
//!
//! ```text
//!  life:  steps on a disk ──▶ tape: every write, length, hole and sync, in order; what was promised when
//!  cuts:  each prefix of the tape × what may be left of the changes since the last sync
//!  judge: the files as they are left ──▶ opened, repaired, checked, compared, written again
//! ```
//! A killed process leaves a prefix with all of its changes. A power cut leaves any part of what was not synced. Of
//! that the selections of [`cuts`] are tried, at every prefix. [`planted`] shows that faults would be found.

mod cuts;
mod judge;
mod life;
mod planted;

use std::ops::ControlFlow;

use self::cuts::cut_everywhere;
use self::life::{Life, created, fixed, random};

/// Every n-th state is tried.
#[derive(Debug, Clone, Copy)]
struct Share(usize);

const ALL: Share = Share(1);

/// Cuts each life everywhere; how many states there were.
fn survived(lives: impl IntoIterator<Item = Life>) -> usize {
    let mut states = 0;
    for life in lives {
        let outcome = cut_everywhere(&life, ALL);
        assert_eq!(outcome.found, None, "{}", life.name);
        states += outcome.states;
    }
    states
}

/// Cuts the repair that every n-th state of a life needs.
fn repairs_survived(life: &Life, share: Share) -> usize {
    let mut states = 0;
    cuts::each(life, share, |state| {
        states += survived(judge::repair(life, state));
        ControlFlow::Continue(())
    });
    states
}

#[test]
fn a_cut_at_any_operation_leaves_what_was_promised() {
    let states = survived(fixed().into_iter().chain([created()]));
    println!("figure: {states} states");
    assert!(states > 1_000, "only {states} states were tried");
}

#[test]
fn a_cut_of_the_repair_after_a_cut_leaves_what_was_promised() {
    let states: usize = fixed().iter().map(|life| repairs_survived(life, Share(19))).sum();
    println!("figure: {states} states");
    assert!(states > 300, "only {states} states were tried");
}

#[test]
#[ignore = "minutes: `make torture` runs it"]
fn torture_of_random_lives_leaves_what_was_promised() {
    let states = survived((0..100).map(random));
    println!("figure: {states} states");
    assert!(states > 20_000, "only {states} states were tried");
}

#[test]
#[ignore = "minutes: `make torture` runs it"]
fn torture_of_all_repairs_leaves_what_was_promised() {
    let states: usize = fixed().iter().map(|life| repairs_survived(life, ALL)).sum();
    println!("figure: {states} states");
    assert!(states > 5_000, "only {states} states were tried");
}
