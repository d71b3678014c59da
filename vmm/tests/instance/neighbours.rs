//! Guests beside each other: what one does costs the others no more than their share of the host.

use std::path::Path;

use kiln_vmm::console_log::MAX_LENGTH;

use super::whole_with;
use crate::micro::{Micro, Program, until};

/// The flood during which a read must have been answered: far more than is printed in the time of one.
const STRETCH: u64 = 16 << 10;
/// So many of them are looked at.
const STRETCHES: u64 = 8;

/// How much a guest has printed, seen from its log, which begins anew when it is full.
struct Printed {
    length: u64,
    total: u64,
}

impl Printed {
    fn look(&mut self, folder: &Path) -> u64 {
        let length = std::fs::metadata(folder.join("console.log")).unwrap().len();
        let before = if length < self.length { MAX_LENGTH } else { 0 };
        self.total += before + length - self.length;
        self.length = length;
        self.total
    }
}

fn reads(machine: &Micro) -> u64 {
    machine.vmm().status().unwrap().disks[0].traffic.reads
}

#[test]
fn hazard_guests_that_flood_their_consoles_leave_another_its_reads() {
    let reader = whole_with(&Program::default().print("up\n").read_first_sector_for_ever());
    until("a read", || reads(&reader) > 0);
    let floods = [(); 2].map(|()| whole_with(&Program::default().print("up\n").flood()));
    let mut printed = [(); 2].map(|()| Printed { length: 0, total: 0 });
    let mut flooded = || -> u64 {
        let each = floods.iter().zip(&mut printed);
        each.map(|(machine, printed)| printed.look(machine.path())).sum()
    };
    let mut fewest = u64::MAX;
    for _ in 0..STRETCHES {
        // In this order: the whole stretch lies between the two looks at the reads.
        let before = reads(&reader);
        let begin = flooded();
        until("a flood", || flooded() - begin >= STRETCH);
        fewest = fewest.min(reads(&reader) - before);
    }
    println!(
        "figure: {fewest} reads at least while two others print {} KiB",
        STRETCH >> 10
    );
    assert!(fewest > 0, "a guest that reads is held up by those that print");
    for machine in floods.iter().chain([&reader]) {
        machine.vmm().kill().unwrap();
    }
}
