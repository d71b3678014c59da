//! Flushes: what was written before one is durable when it is answered, whatever of a freeze fell into it; and who waits
//! for the host's disk, and who does not.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::simulated::{Dice, World};
use crate::Chain;
use crate::disk::{Access, Disk, read_exact_at, write_all_at};
use crate::io::{FileStorage, Host, Span, Storage};
use crate::qcow2::{Layer, format};

const SIZE: u64 = 4 << 20;
/// Long enough for a busy host.
const LONG: Duration = Duration::from_secs(60);
/// In a cluster that is written again after the freeze.
const AGAIN: u64 = 70_000;
/// In one that is not.
const ONCE: u64 = 1 << 20;
/// In one that is discarded before the flush.
const GONE: u64 = 2 << 20;

/// Where an operation of a file waits.
#[derive(Debug, Default)]
struct Stop {
    state: Mutex<Waiting>,
    changed: Condvar,
    /// How often the file was synced.
    syncs: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    /// So many operations from now.
    at: Option<u64>,
    reached: bool,
    let_go: bool,
}

impl Stop {
    fn at(&self, nth: u64) {
        self.state.lock().unwrap().at = Some(nth);
    }

    /// Called before each operation that changes the file or syncs it.
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.at = match state.at.take() {
            Some(0) => {
                state.reached = true;
                let held = |state: &mut Waiting| !state.let_go;
                let waited = self.changed.wait_timeout_while(state, LONG, held).unwrap();
                state = waited.0;
                assert!(state.let_go, "who was to let it go waits for it");
                None
            }
            at => at.map(|left| left - 1),
        };
    }

    /// Whether the operation has come, or `ended` has before it.
    fn is_reached(&self, ended: impl Fn() -> bool) -> bool {
        loop {
            // In this order: what has ended reaches nothing any more.
            let ended = ended();
            if self.state.lock().unwrap().reached {
                return true;
            }
            if ended {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn let_go(&self) {
        self.state.lock().unwrap().let_go = true;
        self.changed.notify_all();
    }
}

/// A file of which one operation waits.
#[derive(Debug)]
struct Halting {
    inner: Host,
    stop: Arc<Stop>,
}

impl Storage for Halting {
    fn length(&self) -> io::Result<u64> {
        self.inner.length().map_err(io::Error::other)
    }

    fn read_at(&self, offset: u64, to: Span<'_, '_>) -> io::Result<usize> {
        self.inner.read_or_zero(offset, to).map_err(io::Error::other)?;
        Ok(to.len())
    }

    fn write_at(&self, offset: u64, from: Span<'_, '_>) -> io::Result<()> {
        self.stop.pass();
        self.inner.write(offset, from).map_err(io::Error::other)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.stop.syncs.fetch_add(1, Ordering::SeqCst);
        self.stop.pass();
        self.inner.sync().map_err(io::Error::other)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.stop.pass();
        self.inner.set_len(len).map_err(io::Error::other)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.stop.pass();
        self.inner.punch_hole(offset, len).map_err(io::Error::other)
    }
}

/// Whether the old layer is made durable while the flush goes on, as a freeze does, or has not been yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seal {
    Meanwhile,
    Later,
}

/// Freezes the disk before the `nth` operation of a flush, and cuts the power when that is answered. Whether the flush has
/// so many operations.
fn frozen_at(nth: u64, seal: Seal, seed: u64) -> bool {
    let world = World::default();
    format(&world.file(), None, SIZE).unwrap();
    let stop = Arc::new(Stop::default());
    let file = Halting {
        inner: world.host(0),
        stop: Arc::clone(&stop),
    };
    let name = world.host(0).name().to_owned();
    let disk = Chain::open_hosts(vec![Host::new(Arc::new(file), &name)], Access::ReadWrite).unwrap();
    write_all_at(&disk, GONE, &[7; 65536]).unwrap();
    disk.flush().unwrap();
    disk.discard(GONE, 65536).unwrap();
    write_all_at(&disk, AGAIN, &[1; 512]).unwrap();
    write_all_at(&disk, ONCE, &[1; 512]).unwrap();
    let overlay = world.file();
    format(&overlay, Some("0"), SIZE).unwrap();
    let prepared = disk.prepare_host(overlay).unwrap();
    stop.at(nth);
    let reached = std::thread::scope(|scope| {
        let flush = scope.spawn(|| disk.flush());
        let reached = stop.is_reached(|| flush.is_finished());
        let sealing = disk.swap(prepared);
        let written = write_all_at(&disk, AGAIN, &[2; 512]);
        if seal == Seal::Meanwhile {
            // What becomes of it when the power goes is not told to anybody.
            scope.spawn(|| disk.sync_sealing(sealing));
        }
        stop.let_go();
        written.unwrap();
        flush.join().unwrap().unwrap();
        world.kill();
        reached
    });
    drop(disk);
    world.revive(&mut Dice(seed));
    let case = format!("frozen at operation {nth}, seal {seal:?}, seed {seed}");
    let files = || vec![world.host(0), world.host(1)];
    let volume = Chain::open_hosts(files(), Access::ReadWrite).unwrap();
    let at = |offset| {
        let mut seen = [0; 512];
        read_exact_at(&volume, offset, &mut seen).unwrap();
        seen
    };
    assert_eq!(at(ONCE), [1; 512], "{case}");
    assert!([[1; 512], [2; 512]].contains(&at(AGAIN)), "{case}");
    assert_eq!(at(GONE), [0; 512], "{case}");
    drop(volume);
    for host in files() {
        let found = Layer::open(host).unwrap().inspect().unwrap();
        assert_eq!(found.corruptions, Vec::<String>::new(), "{case}");
    }
    reached
}

/// The disk of one layer, and what halts the operations on it.
fn halting(inner: Host) -> (Chain, Arc<Stop>) {
    let stop = Arc::new(Stop::default());
    let file = Halting {
        inner,
        stop: Arc::clone(&stop),
    };
    let hosts = vec![Host::new(Arc::new(file), "layer")];
    (Chain::open_hosts(hosts, Access::ReadWrite).unwrap(), stop)
}

/// A large disk in a file, and what halts the operations on it.
fn sparse() -> (Chain, Arc<Stop>) {
    let inner = Host::new(Arc::new(FileStorage::new(tempfile::tempfile().unwrap())), "layer");
    format(&inner, None, 4 << 40).unwrap();
    halting(inner)
}

/// Writes to a place of it whose table no other such place is in: soon there are more tables than are kept in memory.
fn write_apart(disk: &Chain, nth: u64) {
    write_all_at(disk, nth << 30, &[1; 512]).unwrap();
}

#[test]
fn a_flush_that_a_freeze_falls_into_loses_nothing_written_before_it() {
    for seal in [Seal::Meanwhile, Seal::Later] {
        for seed in 0..6 {
            let operations = (0..).take_while(|nth| frozen_at(*nth, seal, seed)).count();
            assert!(operations >= 5, "a flush has {operations} operations");
        }
    }
}

#[test]
fn a_flush_that_makes_the_file_longer_cuts_nothing_off_that_is_written_meanwhile() {
    let world = World::default();
    format(&world.file(), None, SIZE).unwrap();
    let (disk, stop) = halting(world.host(0));
    // The file ends within the new cluster: the first thing that a flush does is to make it longer.
    write_all_at(&disk, 0, &[1; 512]).unwrap();
    stop.at(0);
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| disk.flush());
        assert!(stop.is_reached(|| flush.is_finished()));
        let write = scope.spawn(|| write_all_at(&disk, ONCE, &[2; 65536]));
        // Whoever may write to a new cluster now has done so, but for a host that is very busy.
        let begun = Instant::now();
        while !write.is_finished() && begun.elapsed() < Duration::from_millis(300) {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.let_go();
        flush.join().unwrap().unwrap();
        write.join().unwrap().unwrap();
    });
    let mut seen = vec![0; 65536];
    read_exact_at(&disk, ONCE, &mut seen).unwrap();
    assert!(seen == [2; 65536], "what was written is gone");
    drop(disk);
    let found = Layer::open(world.host(0)).unwrap().inspect().unwrap();
    assert_eq!(found.corruptions, Vec::<String>::new());
}

#[test]
fn what_is_given_up_is_freed_before_it_is_too_much_though_nobody_flushes() {
    let (size, clusters) = (4 << 30, 66 * 512);
    // A page of memory for each cluster, where a disk would take long.
    let memory = rustix::fs::memfd_create("layer", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let inner = Host::new(Arc::new(FileStorage::new(memory.into())), "layer");
    format(&inner, None, size).unwrap();
    let (disk, stop) = halting(inner);
    for nth in 0..clusters {
        write_all_at(&disk, nth * 65536, &[1]).unwrap();
    }
    disk.flush().unwrap();
    let syncs = || stop.syncs.load(Ordering::SeqCst);
    let before = syncs();
    // What is too little to be written out, and on top of it as much as requests in flight may give up.
    let waiting = 64 << 20;
    disk.discard(0, waiting).unwrap();
    disk.settle().unwrap();
    disk.discard(waiting, 1 << 30).unwrap();
    assert_eq!(syncs(), before, "a discard has waited for the host's disk");
    disk.discard(waiting + (1 << 30), clusters * 65536 - waiting - (1 << 30))
        .unwrap();
    assert!(syncs() > before, "all of it waits");
}

#[test]
fn what_gathers_in_memory_is_written_between_requests_and_by_none_of_them() {
    let (disk, stop) = sparse();
    let syncs = || stop.syncs.load(Ordering::SeqCst);
    let mut between = 0;
    for nth in 0..1600 {
        let before = syncs();
        write_apart(&disk, nth);
        assert_eq!(syncs(), before, "write {nth} has waited for the host's disk");
        disk.settle().unwrap();
        between += syncs() - before;
    }
    assert!(between > 0, "nothing was written out");
    // Where nobody asks for it, the disk does it by itself.
    let before = syncs();
    for nth in 1600..3200 {
        write_apart(&disk, nth);
    }
    assert!(syncs() > before, "memory is not bounded");
}

#[test]
fn all_who_find_much_gathered_wait_for_one_commit_and_not_for_one_each() {
    let (disk, stop) = sparse();
    write_apart(&disk, 0);
    // The flush first makes the file longer, when nobody gets new clusters.
    stop.at(1);
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| disk.flush().unwrap());
        assert!(stop.is_reached(|| flush.is_finished()), "a flush does nothing");
        (1..=400).for_each(|nth| write_apart(&disk, nth));
        for _ in 0..4 {
            scope.spawn(|| disk.settle().unwrap());
        }
        // Time to come there; if one is late it finds nothing gathered.
        std::thread::sleep(Duration::from_millis(50));
        stop.let_go();
    });
    let (of_the_flush, of_the_commit) = (2, 2);
    assert_eq!(stop.syncs.load(Ordering::SeqCst), of_the_flush + of_the_commit);
}
