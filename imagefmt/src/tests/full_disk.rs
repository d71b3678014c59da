//! The n-th operation on the host fails, for every n: a full disk or an error, once or from then on. After a sync that
//! failed nothing is durable any more until the disk is opened again.

use super::harness::{CLUSTER, content};
use super::operations::{SIZE, Step};
use super::power_cut::Machine;
use super::simulated::{Dice, Failure, World};
use crate::disk::{Access, Disk, DiskErrorKind, write_all_at};
use crate::qcow2::format;
use crate::{Chain, DiskError};

const KIB: u64 = 1024;

/// Everything that allocates, frees or moves something.
fn script() -> Vec<Step> {
    vec![
        Step::Write {
            at: 10 * KIB,
            len: 200 * KIB,
        },
        Step::Flush,
        Step::Discard {
            at: 64 * KIB,
            len: 64 * KIB,
        },
        Step::Write {
            at: 900 * KIB,
            len: 8 * KIB,
        },
        Step::Flush,
        Step::Freeze { sync: true },
        Step::Write {
            at: 30 * KIB,
            len: 4 * KIB,
        },
        Step::Zero {
            at: 100 * KIB,
            len: 100 * KIB,
            unmap: false,
        },
        Step::Flush,
        Step::Grow { by: 512 },
        Step::Freeze { sync: false },
        Step::Write {
            at: 0,
            len: 128 * KIB,
        },
        Step::Discard {
            at: 0,
            len: 128 * KIB,
        },
        Step::Flush,
        Step::Write {
            at: 64 * KIB,
            len: 4 * KIB,
        },
        Step::Flush,
    ]
}

/// What is done after the first failure.
#[derive(Clone, Copy)]
enum Then {
    /// The guest goes on, in the state of mind of the failed operation.
    GoOn,
    /// Whoever had the disk open ends, and another opens it.
    Reopen,
}

/// Runs the script while the n-th operation fails, then fills the disk, opens it again and fills the rest.
fn run(nth: u64, failure: Failure, mut then: Then) {
    let mut machine = Machine::new();
    machine.world.fail(nth, failure);
    let mut failures: Vec<DiskErrorKind> = Vec::new();
    for step in script() {
        if let Err(error) = machine.step(&step) {
            failures.push(error.kind());
            if matches!(then, Then::Reopen) {
                break;
            }
            let seen = content(machine.disk());
            machine.model.observe(&seen).unwrap();
        }
    }
    let want = match failure {
        Failure::Full | Failure::FullOnce => DiskErrorKind::NoSpace,
        _ => DiskErrorKind::Io,
    };
    let unsynced = matches!(then, Then::GoOn) && machine.world.heal();
    let is_told = |kind: &DiskErrorKind| *kind == want || (unsynced && *kind == DiskErrorKind::Io);
    assert!(failures.iter().all(is_told), "{failures:?}");
    if unsynced {
        // What was to be made durable may be lost for good: whoever goes on is told so each time.
        machine.step(&Step::Flush).unwrap_err();
        then = Then::Reopen;
    }
    if matches!(then, Then::Reopen) {
        // The last words of who had it open fail, too, if the host still does.
        machine.disk = None;
        machine.world.heal();
        machine.open();
        machine.size = machine.disk().size();
        machine.model.grown(machine.size);
        let seen = content(machine.disk());
        machine.model.observe(&seen).unwrap();
    }
    machine.world.heal();

    // It goes on as if nothing had happened, to the last cluster.
    let size = machine.disk().size();
    let fill = |machine: &mut Machine, at: u64| -> Result<(), DiskError> {
        machine.step(&Step::Write {
            at,
            len: (size - at).min(256 * KIB),
        })
    };
    for at in (0..size).step_by(512 * KIB as usize) {
        fill(&mut machine, at).unwrap();
    }
    machine.step(&Step::Flush).unwrap();
    assert!(content(machine.disk()) == machine.model.bytes());
    machine.disk = None;
    machine.open();
    for at in (256 * KIB..size).step_by(512 * KIB as usize) {
        fill(&mut machine, at).unwrap();
    }
    machine.step(&Step::Flush).unwrap();
    machine.disk = None;
    let disk = Chain::open_hosts(machine.hosts(), Access::ReadOnly).unwrap();
    assert!(content(&disk) == machine.model.bytes());
    for host in machine.hosts() {
        let found = crate::qcow2::Layer::open(host).unwrap().inspect().unwrap();
        assert_eq!(found.corruptions, Vec::<String>::new(), "operation {nth}");
    }
    // The one that is written is opened for writing last, which leaves nothing leaked either.
    let top = machine.hosts().pop().unwrap();
    let found = crate::qcow2::Layer::open(top).unwrap().inspect().unwrap();
    assert_eq!(found.leaked, 0, "operation {nth}");
}

/// Each operation fails once, with each error, and is followed by each way to go on.
fn run_all(failures: [Failure; 2]) {
    for nth in 0..operations() {
        for failure in failures {
            run(nth, failure, Then::GoOn);
            run(nth, failure, Then::Reopen);
        }
    }
}

/// How many operations the script does where nothing fails.
fn operations() -> u64 {
    let mut machine = Machine::new();
    let before = machine.world.changes();
    script().iter().for_each(|step| machine.step(step).unwrap());
    machine.world.changes() - before
}

#[test]
fn hazard_full_disk_at_any_operation_leaves_the_disk_usable() {
    run_all([Failure::Full, Failure::FullOnce]);
}

#[test]
fn hazard_host_error_at_any_operation_leaves_the_disk_usable() {
    run_all([Failure::Once, Failure::Broken]);
}

#[test]
fn a_full_disk_says_so_and_reads_go_on() {
    let mut machine = Machine::new();
    machine.step(&Step::Write { at: 0, len: 64 * KIB }).unwrap();
    machine.world.fail(0, Failure::Full);
    let error = write_all_at(machine.disk(), 512 * KIB, &[1; 4096]).unwrap_err();
    assert_eq!(error.kind(), DiskErrorKind::NoSpace);
    assert!(
        error.to_string().starts_with("/simulated/0: cannot write at "),
        "{error}"
    );
    assert!(content(machine.disk()) == machine.model.bytes());
    assert_eq!(machine.disk().size(), SIZE);
}

#[test]
fn what_a_failed_flush_did_not_free_the_next_one_frees() {
    let mut machine = Machine::new();
    let write = |at| Step::Write { at, len: 256 * KIB };
    let given_up = Step::Discard {
        at: 0,
        len: 256 * KIB,
    };
    for step in [write(0), Step::Flush, given_up] {
        machine.step(&step).unwrap();
    }
    // Its first operation is the sync before the tables are written.
    machine.world.fail(1, Failure::Once);
    machine.step(&Step::Flush).unwrap_err();
    machine.step(&Step::Flush).unwrap();
    let before = machine.world.bytes(0).len();
    machine.step(&write(512 * KIB)).unwrap();
    machine.step(&Step::Flush).unwrap();
    assert_eq!(
        machine.world.bytes(0).len(),
        before,
        "the clusters are used again"
    );
}

/// A disk with a cluster that waits for a flush, above a former top with one if there was a freeze.
fn unflushed(frozen: bool) -> Machine {
    let mut machine = Machine::new();
    machine.step(&Step::Write { at: 0, len: 64 * KIB }).unwrap();
    machine.step(&Step::Flush).unwrap();
    machine.step(&Step::Write { at: 0, len: 4 * KIB }).unwrap();
    if frozen {
        machine.step(&Step::Freeze { sync: false }).unwrap();
    }
    machine
}

#[test]
fn hazard_what_a_failed_sync_has_forgotten_no_later_one_calls_durable() {
    for frozen in [false, true] {
        let mut machine = unflushed(frozen);
        machine.world.fail(0, Failure::Forgetful);
        machine.step(&Step::Flush).unwrap_err();
        assert!(machine.world.heal());
        let error = machine.step(&Step::Flush).unwrap_err();
        assert!(error.to_string().contains("open the disk again"), "{error}");
        machine.step(&Step::Write { at: 0, len: 4 * KIB }).unwrap();
        machine.step(&Step::Flush).unwrap_err();
        // A new beginning: what was forgotten is gone, as was told.
        machine.cut(&mut Dice(1));
        machine.step(&Step::Write { at: 0, len: 4 * KIB }).unwrap();
        machine.step(&Step::Flush).unwrap();
    }
}

#[test]
fn hazard_a_layer_that_could_not_be_synced_is_never_sealed() {
    let machine = unflushed(false);
    let overlay = machine.world.file();
    format(&overlay, Some("0"), SIZE).unwrap();
    let sealing = machine.disk().swap(machine.disk().prepare_host(overlay).unwrap());
    machine.world.fail(0, Failure::Forgetful);
    machine.disk().flush().unwrap_err();
    machine.world.heal();
    machine.disk().sync_sealing(sealing.clone()).unwrap_err();
    machine.disk().sync_sealing(sealing).unwrap_err();
}

#[test]
fn a_disk_that_cannot_be_synced_takes_no_overlay() {
    for frozen in [false, true] {
        let machine = unflushed(frozen);
        machine.world.fail(0, Failure::Forgetful);
        machine.disk().flush().unwrap_err();
        machine.world.heal();
        let depth = machine.disk().depth();
        let overlay = machine.world.file();
        format(&overlay, Some(&World::name(depth - 1)), SIZE).unwrap();
        let error = machine.disk().prepare_host(overlay).map(drop).unwrap_err();
        assert!(error.to_string().contains("open the disk again"), "{error}");
        assert_eq!(machine.disk().depth(), depth);
    }
}

#[test]
fn a_former_top_that_cannot_be_synced_keeps_no_flush_from_the_new_one() {
    let mut machine = unflushed(true);
    machine.world.fail(0, Failure::Forgetful);
    machine.step(&Step::Flush).unwrap_err();
    machine.world.heal();
    write_all_at(machine.disk(), 512 * KIB, &[9; 4096]).unwrap();
    machine.disk().flush().unwrap_err();
    machine.world.kill();
    machine.disk = None;
    machine.world.revive(&mut Dice(1));
    machine.open();
    let seen = content(machine.disk());
    assert!(seen[512 << 10..][..4096] == [9; 4096], "it was not written out");
}

#[test]
fn hazard_a_disk_that_cannot_be_synced_grows_no_further_than_memory_has_room_for_its_tables() {
    // A table of 512 clusters for each write: the tables of 512 of them may wait.
    let apart = 512 * CLUSTER;
    let world = World::default();
    format(&world.file(), None, 1024 * apart).unwrap();
    let disk = Chain::open_hosts(vec![world.host(0)], Access::ReadWrite).unwrap();
    world.fail(0, Failure::Once);
    disk.flush().unwrap_err();
    world.heal();
    let write = |nth| write_all_at(&disk, nth * apart, &[1; 512]);
    let taken = (0..1024).take_while(|nth| write(*nth).is_ok()).count();
    let len = world.bytes(0).len();
    for nth in 600..1024 {
        write(nth).unwrap_err();
    }
    assert_eq!(taken, 513);
    assert_eq!(world.bytes(0).len(), len, "what is refused takes no space");
}
