//! Whether the files that a cut has left keep what was promised.

use super::cuts::State;
use super::life::{Life, Promise};
use crate::Chain;
use crate::disk::{Access, Disk};
use crate::qcow2::Layer;
use crate::tests::harness::{content, run};
use crate::tests::operations::Step;
use crate::tests::simulated::{Event, World};

/// Every so many states QEMU is asked, too.
const QEMU: usize = 97;

/// Opens the disk as after a crash, compares it, fills it, and looks at every file again.
pub(super) fn judge(life: &Life, state: State) -> Result<(), String> {
    let promise = &life.promises[life.promise(state.after)];
    let world = World::of(state.files);
    if promise.depth == 0 {
        // Nobody names these files yet: whatever they are, looking at one ends.
        if world.files() > 0 {
            let _ = Layer::open(world.host(0)).map(|layer| layer.inspect());
        }
        return Ok(());
    }
    if state.number.is_multiple_of(QEMU) {
        ask_qemu(&world, promise.depth)?;
    }
    are_sound(&world, promise.depth)?;
    are_sealed(&world, promise)?;

    let disk = open(&world, promise.depth, Access::ReadWrite)?;
    if disk.size() < promise.size {
        return Err(format!("{} bytes are left of {}", disk.size(), promise.size));
    }
    let mut model = promise.model.clone();
    model.grown(disk.size());
    model.take_over(&content(&disk))?;

    for step in [
        Step::Write { at: 1024, len: 1024 },
        Step::Write {
            at: disk.size() / 1024 * 512,
            len: disk.size() / 2048 * 512,
        },
        Step::Flush,
    ] {
        model.step(&disk, &step).map_err(|error| error.to_string())?;
    }
    drop(disk);
    are_sound(&world, promise.depth)?;
    let again = content(&open(&world, promise.depth, Access::ReadOnly)?);
    if again != model.bytes() {
        return Err("what was written after the repair does not read back".to_owned());
    }
    let top = Layer::open(world.host(promise.depth - 1)).map_err(|error| error.to_string())?;
    match top.inspect().map_err(|error| error.to_string())?.leaked {
        0 => are_sealed(&world, promise),
        leaked => Err(format!("{leaked} clusters leak after the repair")),
    }
}

fn open(world: &World, depth: usize, access: Access) -> Result<Chain, String> {
    let hosts = (0..depth).map(|nth| world.host(nth)).collect();
    Chain::open_hosts(hosts, access).map_err(|error| error.to_string())
}

fn are_sound(world: &World, depth: usize) -> Result<(), String> {
    for nth in 0..depth {
        let found = Layer::open(world.host(nth)).and_then(|layer| layer.inspect());
        let found = found.map_err(|error| error.to_string())?;
        if let Some(first) = found.corruptions.first() {
            return Err(format!("file {nth}: {first}"));
        }
    }
    Ok(())
}

/// Sealed layers that were acknowledged read as they did.
fn are_sealed(world: &World, promise: &Promise) -> Result<(), String> {
    for (nth, want) in promise.sealed.iter().enumerate() {
        let Some(want) = want else { continue };
        if content(&open(world, nth + 1, Access::ReadOnly)?) != *want {
            return Err(format!("sealed layer {nth} has changed"));
        }
    }
    Ok(())
}

/// `qemu-img check` may find leaks to repair, nothing else.
fn ask_qemu(world: &World, depth: usize) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |nth: usize| folder.path().join(World::name(nth));
    for nth in 0..depth {
        std::fs::write(path(nth), world.bytes(nth)).unwrap();
    }
    for nth in 0..depth {
        let name = path(nth).display().to_string();
        run("qemu-img", &["check", "-q", "-r", "leaks", "-f", "qcow2", &name])?;
    }
    Ok(())
}

/// The life of a repair: what opening a state does to its files; none if nothing is done.
pub(super) fn repair(life: &Life, state: State) -> Option<Life> {
    let mut promise = life.promises[life.promise(state.after)].clone();
    promise.at = 0;
    if promise.depth == 0 {
        return None;
    }
    let world = World::of(state.files.clone());
    world.record();
    drop(open(&world, promise.depth, Access::ReadWrite).unwrap());
    let tape = world.tape();
    let is_change = |event: &Event| matches!(event, Event::Change(..));
    tape.iter().any(is_change).then(|| Life {
        name: format!("repair of state {} of {}", state.number, life.name),
        start: state.files,
        tape,
        promises: vec![promise],
    })
}
