//! Lives of a disk: what was done to its files, in order, and what was promised at each moment.

use crate::qcow2::format;
use crate::tests::harness::CLUSTER;
use crate::tests::operations::{Model, Step};
use crate::tests::power_cut::Machine;
use crate::tests::simulated::{Dice, Event, World};

/// A disk small enough for ten thousand copies of it; its end not at a cluster.
const SIZE: u64 = 5 * CLUSTER + 5 * 512;

/// What holds from an operation on, until the next promise.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    /// Operations before it.
    pub(super) at: usize,
    /// Files of the chain; with none, there may be anything.
    pub(super) depth: usize,
    /// The disk is at least so large.
    pub(super) size: u64,
    /// What its sectors may hold.
    pub(super) model: Model,
    /// What sealed layers must read, if they were acknowledged.
    pub(super) sealed: Vec<Option<Vec<u8>>>,
}

#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) name: String,
    /// The files at its beginning, durable.
    pub(super) start: Vec<Vec<u8>>,
    pub(super) tape: Vec<Event>,
    /// In order; the first holds from the beginning.
    pub(super) promises: Vec<Promise>,
}

impl Life {
    /// The number of the promise that holds after so many operations.
    pub(super) fn promise(&self, after: usize) -> usize {
        self.promises.partition_point(|promise| promise.at <= after) - 1
    }
}

fn promise(machine: &Machine, at: usize) -> Promise {
    Promise {
        at,
        depth: machine.files,
        size: machine.size,
        model: machine.model.clone(),
        sealed: machine.frozen.clone(),
    }
}

/// Does the steps and closes the disk in order.
pub(super) fn live(name: &str, steps: &[Step]) -> Life {
    let mut machine = Machine::of(SIZE);
    let start = vec![machine.world.bytes(0)];
    machine.world.record();
    let mut promises = vec![promise(&machine, 0)];
    for step in steps {
        let from = machine.world.tape().len();
        let before = promise(&machine, from);
        machine.step(step).unwrap();
        let tape = machine.world.tape();
        match step {
            // Its bytes may be there from its first operation on.
            Step::Write { .. } | Step::Discard { .. } | Step::Zero { .. } => {
                promises.push(promise(&machine, from));
            }
            // The new overlay is the volume as soon as it is there: the catalogue names it then.
            Step::Freeze { .. } => {
                let new = machine.files - 1;
                let is_made = |event: &Event| matches!(event, Event::Sync(file) if *file == new);
                let named = tape.iter().position(is_made).unwrap() + 1;
                promises.push(Promise {
                    at: named,
                    depth: machine.files,
                    ..before
                });
                promises.push(promise(&machine, tape.len()));
            }
            Step::Flush | Step::Grow { .. } => promises.push(promise(&machine, tape.len())),
        }
    }
    machine.disk = None;
    Life {
        name: name.to_owned(),
        start,
        tape: machine.world.tape(),
        promises,
    }
}

/// A base and an overlay are made.
pub(super) fn created() -> Life {
    let world = World::default();
    world.record();
    let empty = |at, depth| Promise {
        at,
        depth,
        size: SIZE,
        model: Model::new(SIZE),
        sealed: Vec::new(),
    };
    let mut promises = vec![empty(0, 0)];
    format(&world.file(), None, SIZE).unwrap();
    promises.push(empty(world.tape().len(), 1));
    format(&world.file(), Some("0"), SIZE).unwrap();
    promises.push(empty(world.tape().len(), 2));
    Life {
        name: "create".to_owned(),
        start: Vec::new(),
        tape: world.tape(),
        promises,
    }
}

fn write(at: u64, len: u64) -> Step {
    Step::Write { at, len }
}

fn discard(cluster: u64, count: u64) -> Step {
    Step::Discard {
        at: cluster * CLUSTER,
        len: count * CLUSTER,
    }
}

fn zero(at: u64, len: u64, unmap: bool) -> Step {
    Step::Zero { at, len, unmap }
}

/// Lives that come through every path of the write side.
pub(super) fn fixed() -> Vec<Life> {
    use Step::Flush;
    let freeze = |sync| Step::Freeze { sync };
    let (half, whole) = (CLUSTER / 2, CLUSTER);
    vec![
        live(
            "a guest writes",
            &[
                write(512, 1024),
                write(2 * whole + half, whole),
                Flush,
                write(0, 4096),
                write(4 * whole, 512),
                write(2 * whole, 512),
                Flush,
                Step::Grow { by: whole },
                write(5 * whole, 3 * 512),
                Flush,
            ],
        ),
        live(
            "clusters are discarded and used again",
            &[
                write(0, 3 * whole),
                Flush,
                discard(0, 2),
                write(4 * whole, 512),
                Flush,
                write(3 * whole, whole),
                zero(2 * whole, whole, false),
                Flush,
                zero(half, 2 * whole, true),
                write(0, 512),
                Flush,
                write(whole, 2 * whole),
                Flush,
            ],
        ),
        live(
            "a disk in use is frozen",
            &[
                write(half, whole),
                Flush,
                write(3 * whole, 512),
                freeze(true),
                write(half, 512),
                discard(3, 1),
                Flush,
                write(2 * whole, 512),
                freeze(false),
                write(512, 512),
                write(4 * whole, 512),
                Flush,
                freeze(true),
                zero(0, whole, true),
                Flush,
            ],
        ),
        live(
            "a disk is imported",
            &[
                write(0, 2 * whole),
                write(2 * whole, whole),
                write(3 * whole, 2 * whole),
                write(5 * whole, 5 * 512),
                Flush,
            ],
        ),
    ]
}

/// Random steps; the same seed gives the same life.
pub(super) fn random(seed: u64) -> Life {
    let mut dice = Dice(seed);
    let mut steps = Vec::new();
    while steps.len() < 14 {
        let sectors = SIZE / 512;
        let start = dice.roll(sectors);
        let len = [1, 3, 128, 200][dice.roll(4) as usize].min(sectors - start);
        let (at, len) = (start * 512, len * 512);
        steps.push(match dice.roll(10) {
            0..4 => write(at, len),
            4 => Step::Discard { at, len },
            5 => zero(at, len, dice.roll(2) == 0),
            6 => Step::Freeze {
                sync: dice.roll(2) == 0,
            },
            _ => Step::Flush,
        });
    }
    live(&format!("random life {seed}"), &steps)
}
