//! What it costs to save a machine and to go on from it, for a small and a larger memory of which the same is used.

use crate::comparison::{Comparison, Figure, ROUNDS, median_of};
use kiln_tests::Home;
use kiln_tests::saved::{Saved, vmm};
use std::os::unix::fs::MetadataExt;

const TYPES: [&str; 2] = ["t3.nano", "t3.small"];

/// Saves and restores one guest of each, in turn.
pub(crate) fn compare() -> Comparison {
    let home = Home::new();
    let guests = TYPES.map(|kind| home.launch("tiny", &["--type", kind]));
    let (mut held, mut started, mut bytes) = ([vec![], vec![]], [vec![], vec![]], [vec![], vec![]]);
    for _ in 0..ROUNDS {
        for (n, guest) in guests.iter().enumerate() {
            vmm(guest).pause().expect("it is held");
            let saved = Saved::of(guest);
            started[n].push(saved.replace(guest).as_secs_f64() * 1000.0);
            vmm(guest).resume().expect("it goes on");
            guest.exec("true").succeeds();
            held[n].push(saved.report.stall_us as f64 / 1000.0);
            let files = std::fs::read_dir(saved.path()).expect("its folder");
            let size = |file: std::fs::DirEntry| file.metadata().expect("its metadata").blocks() * 512;
            bytes[n].push(files.flatten().map(size).sum::<u64>() as f64 / f64::from(1 << 20));
        }
    }
    Comparison {
        title: "A saved machine of 512 MiB and one of 2 GiB",
        each: median_of(ROUNDS),
        of: ["512 MiB", "2 GiB"],
        // Memory that was never used is looked at, and takes no room.
        figures: vec![
            Figure::new("held to be saved", "ms", &mut held, 4.0),
            Figure::new("start until restored", "ms", &mut started, 2.0),
            Figure::new("both files on disk", "MiB", &mut bytes, 1.5),
        ],
        failure: None,
    }
}
