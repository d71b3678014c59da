//! A command in a fresh guest, as a CI job calls it on a host without virtualization: with the software machine up, and
//! with it stopped, when its saved state is gone on from.

use crate::comparison::{Comparison, Figure, ROUNDS, median_of, timed};
use kiln_tests::home::program;
use std::process::Command;

/// The most that it may take from a stopped machine, in milliseconds.
const LIMIT: f64 = 15_000.0;

/// Runs `true` in a guest of `tiny`, in the store that `KILN_HOME` names.
pub(crate) fn compare() -> Comparison {
    let mut samples = [vec![], vec![]];
    // The machine is saved at its first start.
    kiln(&["run", "--rm", "tiny", "--", "true"]);
    for _ in 0..ROUNDS {
        timed(&mut samples[0], || kiln(&["run", "--rm", "tiny", "--", "true"]));
        kiln(&["machine", "stop"]);
        timed(&mut samples[1], || kiln(&["run", "--rm", "tiny", "--", "true"]));
    }
    kiln(&["machine", "stop"]);
    Comparison {
        title: "A command in a fresh guest",
        each: median_of(ROUNDS),
        of: ["machine up", "machine stopped"],
        figures: vec![
            Figure::new("kiln run --rm tiny -- true", "ms", &mut samples, f64::INFINITY).at_most(LIMIT),
        ],
        failure: None,
    }
}

fn kiln(arguments: &[&str]) {
    let ended = Command::new(program("kiln"))
        .args(arguments)
        .output()
        .expect("kiln starts");
    assert!(
        ended.status.success(),
        "kiln {arguments:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
}
