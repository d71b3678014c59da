//! What a cut may leave: for each prefix of a tape, many selections of the changes that were not synced.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::Share;
use super::judge::judge;
use super::life::Life;
use crate::tests::simulated::{Change, Event};

/// What is left of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Left {
    Nothing,
    Whole,
    /// The first so many sectors.
    Head(usize),
    /// All but the first so many sectors.
    Tail(usize),
}

impl Left {
    fn apply(self, change: &Change, file: &mut Vec<u8>) {
        match (self, change) {
            (Self::Nothing, _) => {}
            (Self::Head(sectors), Change::Write(at, bytes)) => {
                Change::Write(*at, bytes[..sectors * 512].to_vec()).apply(file);
            }
            (Self::Tail(sectors), Change::Write(at, bytes)) => {
                Change::Write(at + sectors as u64 * 512, bytes[sectors * 512..].to_vec()).apply(file);
            }
            (_, whole) => whole.apply(file),
        }
    }
}

/// The places at which a change can tear, in sectors from its start: after the first, before the last, in the middle.
fn tears(change: &Change) -> Vec<usize> {
    let sectors = match change {
        Change::Write(at, bytes) if at % 512 == 0 => bytes.len().div_ceil(512),
        _ => 1,
    };
    let mut tears = vec![1, sectors / 2, sectors - 1];
    tears.retain(|tear| (1..sectors).contains(tear));
    tears.dedup();
    tears
}

/// All, none; each one lost, each alone; each one torn, the others there or lost; each pair lost, each pair alone.
fn selections(pending: &[&Change]) -> Vec<Vec<Left>> {
    let full = vec![Left::Whole; pending.len()];
    let empty = vec![Left::Nothing; pending.len()];
    let with = |ground: &[Left], marks: &[(usize, Left)]| {
        let mut selection = ground.to_vec();
        marks.iter().for_each(|(nth, left)| selection[*nth] = *left);
        selection
    };
    let mut all = vec![full.clone(), empty.clone()];
    for (nth, change) in pending.iter().enumerate() {
        all.push(with(&full, &[(nth, Left::Nothing)]));
        all.push(with(&empty, &[(nth, Left::Whole)]));
        for tear in tears(change) {
            for left in [Left::Head(tear), Left::Tail(tear)] {
                all.push(with(&full, &[(nth, left)]));
                all.push(with(&empty, &[(nth, left)]));
            }
        }
        for other in 0..nth {
            all.push(with(&full, &[(nth, Left::Nothing), (other, Left::Nothing)]));
            all.push(with(&empty, &[(nth, Left::Whole), (other, Left::Whole)]));
        }
    }
    all
}

/// The files after a cut.
pub(super) struct State {
    /// Operations before the cut.
    pub(super) after: usize,
    pub(super) files: Vec<Vec<u8>>,
    /// How many came before it.
    pub(super) number: usize,
}

/// Calls `look` with every n-th state of a life, no state twice under the same promise, until it breaks off. How many
/// states it was called with.
pub(super) fn each(life: &Life, share: Share, mut look: impl FnMut(State) -> ControlFlow<()>) -> usize {
    let mut looked = 0;
    let mut durable = life.start.clone();
    // Changes since the last sync of their file: number in the tape, file, change.
    let mut pending: Vec<(usize, usize, &Change)> = Vec::new();
    let mut seen = HashSet::new();
    for after in 0..=life.tape.len() {
        match after
            .checked_sub(1)
            .and_then(|last| Some((last, life.tape.get(last)?)))
        {
            Some((last, Event::Change(file, change))) => pending.push((last, *file, change)),
            Some((_, Event::Sync(synced))) => {
                durable.resize(durable.len().max(synced + 1), Vec::new());
                pending
                    .iter()
                    .filter(|(_, file, _)| file == synced)
                    .for_each(|(_, _, change)| change.apply(&mut durable[*synced]));
                pending.retain(|(_, file, _)| file != synced);
            }
            None => {}
        }
        let changes: Vec<&Change> = pending.iter().map(|(_, _, change)| *change).collect();
        // What is there, by its number in the tape: the same changes make the same files.
        let is_change = |event| matches!(event, &Event::Change(..));
        let done = life.tape.iter().take(after).map(is_change);
        let done: Vec<Left> = done
            .map(|is| if is { Left::Whole } else { Left::Nothing })
            .collect();
        for selection in selections(&changes) {
            let mut there = done.clone();
            for ((number, ..), left) in pending.iter().zip(&selection) {
                there[*number] = *left;
            }
            let last = there.iter().rposition(|left| *left != Left::Nothing);
            there.truncate(last.map_or(0, |last| last + 1));
            if !seen.insert((life.promise(after), there)) || !seen.len().is_multiple_of(share.0) {
                continue;
            }
            let mut files = durable.clone();
            for ((_, file, change), left) in pending.iter().zip(&selection) {
                files.resize(files.len().max(file + 1), Vec::new());
                left.apply(change, &mut files[*file]);
            }
            let number = seen.len();
            looked += 1;
            if look(State { after, files, number }).is_break() {
                return looked;
            }
        }
    }
    looked
}

/// What came of cutting a life everywhere.
pub(super) struct Outcome {
    pub(super) states: usize,
    /// The first state that is wrong, in words.
    pub(super) found: Option<String>,
}

pub(super) fn cut_everywhere(life: &Life, share: Share) -> Outcome {
    let mut found = None;
    let states = each(life, share, |state| {
        let (after, number) = (state.after, state.number);
        match judge(life, state) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                found = Some(format!("state {number}, cut after {after} operations: {error}"));
                ControlFlow::Break(())
            }
        }
    });
    Outcome { states, found }
}
