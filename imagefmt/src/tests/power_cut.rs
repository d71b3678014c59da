//! The power is cut at an arbitrary operation; of what was not synced an arbitrary part is lost.

use proptest::prelude::*;

use super::harness::content;
use super::operations::{Model, SIZE, Step, step};
use super::simulated::{Dice, Failure, World};
use crate::Chain;
use crate::disk::{Access, Disk, read_exact_at, write_all_at};
use crate::qcow2::{Layer, format};

/// A chain of simulated files; a freeze adds one.
pub(crate) struct Machine {
    pub(crate) world: World,
    pub(crate) files: usize,
    pub(crate) disk: Option<Chain>,
    pub(crate) model: Model,
    pub(crate) size: u64,
    /// What each frozen layer must read, if that was acknowledged as durable.
    pub(crate) frozen: Vec<Option<Vec<u8>>>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::of(SIZE)
    }

    /// A machine with a disk of so many bytes.
    pub(crate) fn of(size: u64) -> Self {
        let world = World::default();
        format(&world.file(), None, size).unwrap();
        let mut machine = Self {
            world,
            files: 1,
            disk: None,
            model: Model::new(size),
            size,
            frozen: Vec::new(),
        };
        machine.open();
        machine
    }

    pub(crate) fn hosts(&self) -> Vec<crate::io::Host> {
        (0..self.files).map(|nth| self.world.host(nth)).collect()
    }

    pub(crate) fn open(&mut self) {
        self.disk = Some(Chain::open_hosts(self.hosts(), Access::ReadWrite).unwrap());
    }

    pub(crate) fn disk(&self) -> &Chain {
        self.disk.as_ref().unwrap()
    }

    /// A step; after a failure what the disk shows is compared at the next observation.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), crate::DiskError> {
        match step {
            Step::Freeze { sync } => {
                // `control` makes the overlay before it asks for a freeze: it is durable.
                let overlay = self.world.file();
                if let Err(error) = format(&overlay, Some(&World::name(self.files - 1)), self.size) {
                    self.forget_file();
                    return Err(error);
                }
                let prepared = match self.disk().prepare_host(overlay) {
                    Ok(prepared) => prepared,
                    Err(error) => {
                        self.forget_file();
                        return Err(error);
                    }
                };
                let sealing = self.disk().swap(prepared);
                self.files += 1;
                self.frozen.push(None);
                if *sync {
                    self.disk().sync_sealing(sealing)?;
                    self.frozen.pop();
                    self.frozen.push(Some(self.model.bytes()));
                }
                Ok(())
            }
            Step::Grow { by } => {
                let size = self.size + by;
                let outcome = self.disk().grow(size);
                self.size = self.disk().size();
                self.model.grown(self.size);
                outcome
            }
            other => {
                let disk = self.disk.as_ref().unwrap();
                self.model.step(disk, other)
            }
        }
    }

    fn forget_file(&mut self) {
        self.world.pop();
    }

    /// The process dies, the power goes and comes back; the disk is opened again and compared.
    pub(crate) fn cut(&mut self, dice: &mut Dice) {
        self.world.kill();
        self.disk = None;
        self.world.revive(dice);
        self.open();
        for (nth, want) in self.frozen.iter().enumerate() {
            let hosts = self.hosts().into_iter().take(nth + 1).collect();
            let seen = content(&Chain::open_hosts(hosts, Access::ReadOnly).unwrap());
            assert!(
                want.as_ref().is_none_or(|want| seen == *want),
                "frozen layer {nth} has changed"
            );
        }
        // Growing is durable when it returns; cut in the middle it may have happened or not.
        self.size = self.disk().size();
        self.model.grown(self.size);
        let seen = content(self.disk());
        self.model.take_over(&seen).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_loses_nothing_flushed_and_corrupts_nothing(
        lives in prop::collection::vec((prop::collection::vec(step(), 1..16), any::<u64>(), 0..60_u64), 1..4),
    ) {
        let mut machine = Machine::new();
        for (steps, seed, cut_after) in lives {
            let mut dice = Dice(seed);
            let last = machine.world.changes() + cut_after;
            machine.world.fail(cut_after, Failure::Full);
            for step in &steps {
                if machine.step(step).is_err() || machine.world.changes() > last {
                    break;
                }
            }
            machine.cut(&mut dice);
        }
    }

    #[test]
    fn a_sync_that_fails_and_forgets_leaves_the_layer_sound(
        steps in prop::collection::vec(step(), 4..24),
        seed in any::<u64>(),
        nth in 0..60_u64,
    ) {
        let mut machine = Machine::new();
        machine.world.fail(nth, Failure::Forgetful);
        for step in &steps {
            let _ = machine.step(step);
        }
        machine.world.kill();
        machine.disk = None;
        machine.world.revive(&mut Dice(seed));
        // Guest data of the failed flush may be gone; the tables must not contradict themselves.
        machine.open();
    }
}

/// What is killed leaves tables that a later opener reads, and that the disk does not have yet.
#[test]
fn hazard_a_power_cut_while_a_disk_is_opened_after_a_kill_corrupts_nothing() {
    const LEN: usize = 1 << 16;
    let mut cut_in_the_opening = 0;
    for (killed_at, cut_at) in (0..10).flat_map(|killed_at| (0..10).map(move |cut_at| (killed_at, cut_at))) {
        for seed in 0..16 {
            let world = World::default();
            format(&world.file(), None, SIZE).unwrap();
            let open = || Chain::open_hosts(vec![world.host(0)], Access::ReadWrite);
            let disk = open().unwrap();
            write_all_at(&disk, 0, &[1; LEN]).unwrap();
            write_all_at(&disk, LEN as u64, &[2; LEN]).unwrap();
            disk.flush().unwrap();
            world.fail(killed_at, Failure::Broken);
            let _ = disk.discard(0, LEN as u64).and_then(|()| disk.flush());
            world.kill();
            drop(disk);
            world.restart();
            world.fail(cut_at, Failure::Broken);
            cut_in_the_opening += u64::from(open().is_err());
            world.kill();
            world.revive(&mut Dice(seed));
            let disk = open().unwrap_or_else(|error| panic!("{killed_at}, {cut_at}, {seed}: {error}"));
            let mut seen = [9; 1];
            read_exact_at(&disk, LEN as u64, &mut seen).unwrap();
            assert_eq!(seen, [2], "{killed_at}, {cut_at}, {seed}");
            read_exact_at(&disk, 0, &mut seen).unwrap();
            assert!(seen[0] <= 1, "{killed_at}, {cut_at}, {seed}: {seen:?}");
        }
    }
    assert!(cut_in_the_opening > 0);
}

#[test]
fn a_snapshot_is_no_more_durable_than_what_it_lies_on() {
    for seed in 0..8 {
        let mut machine = Machine::new();
        machine.step(&Step::Write { at: 0, len: 512 }).unwrap();
        machine.step(&Step::Freeze { sync: false }).unwrap();
        machine.step(&Step::Freeze { sync: true }).unwrap();
        // Compares each layer that was acknowledged.
        machine.cut(&mut Dice(seed));
    }
}

/// One freeze as `control` and the VMM do it: what was flushed, and which content the snapshot has if it was
/// acknowledged.
struct Freeze {
    flushed: u8,
    acknowledged: bool,
    has_overlay: bool,
}

/// Write and flush 1; write 2; overlay; swap; write 3 to the new top; old top durable; flush.
fn freeze(world: &World) -> Freeze {
    let mut state = Freeze {
        flushed: 0,
        acknowledged: false,
        has_overlay: false,
    };
    let _ = (|| -> Result<(), crate::DiskError> {
        let disk = Chain::open_hosts(vec![world.host(0)], Access::ReadWrite)?;
        write_all_at(&disk, 70_000, &[1; 512])?;
        disk.flush()?;
        state.flushed = 1;
        write_all_at(&disk, 70_000, &[2; 512])?;
        write_all_at(&disk, 1 << 20, &[2; 512])?;
        let overlay = world.host(1);
        format(&overlay, Some("0"), SIZE)?;
        state.has_overlay = true;
        let sealing = disk.swap(disk.prepare_host(overlay)?);
        write_all_at(&disk, 70_000, &[3; 512])?;
        disk.sync_sealing(sealing)?;
        state.acknowledged = true;
        disk.flush()?;
        state.flushed = 3;
        world.kill();
        Ok(())
    })();
    world.kill();
    state
}

#[test]
fn hazard_freeze_cut_at_any_operation_is_before_or_after_and_never_between() {
    let fresh = || {
        let world = World::default();
        format(&world.file(), None, SIZE).unwrap();
        world.file();
        world
    };
    let world = fresh();
    let before = world.changes();
    assert!(freeze(&world).acknowledged);
    let operations = world.changes() - before;
    assert!(operations > 20);
    for (nth, seed) in (0..=operations).flat_map(|nth| (0..8).map(move |seed| (nth, seed))) {
        let world = fresh();
        world.fail(nth, Failure::Full);
        let state = freeze(&world);
        world.revive(&mut Dice(seed));
        // Recovery: with an overlay that `control` has written down, that is the volume, swapped or not.
        let depth = if state.has_overlay { 2 } else { 1 };
        let hosts = |depth| (0..depth).map(|nth| world.host(nth)).collect::<Vec<_>>();
        let volume = Chain::open_hosts(hosts(depth), Access::ReadWrite).unwrap();
        let mut seen = [0; 1];
        read_exact_at(&volume, 70_000, &mut seen).unwrap();
        assert!(
            seen[0] >= state.flushed,
            "operation {nth}: {} was flushed, {} is there",
            state.flushed,
            seen[0]
        );
        drop(volume);
        if state.acknowledged {
            let snapshot = content(&Chain::open_hosts(hosts(1), Access::ReadOnly).unwrap());
            assert_eq!((snapshot[70_000], snapshot[1 << 20]), (2, 2), "operation {nth}");
        }
        for host in hosts(depth) {
            let found = Layer::open(host).unwrap().inspect().unwrap();
            assert_eq!(found.corruptions, Vec::<String>::new());
        }
    }
}
