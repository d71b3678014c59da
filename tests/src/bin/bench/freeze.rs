//! Freezes under load: four threads write to a disk as fast as they can while it gets one overlay after the other. Natively,
//! without a guest; beside it QEMU's storage daemon, which takes the same requests over NBD and the same number of
//! `blockdev-snapshot` transactions.
//!
//! What a writer sees is measured alike of both: the longest of the writes that were under way while a freeze was,
//! from its call until its answer, when Kiln's old layer is durable. Flushes are not among them: they take what the
//! host's disk takes.

use crate::comparison::{Comparison, Figure};
use crate::storage_daemon::{Connection, StorageDaemon};
use kiln_imagefmt::{Access, Chain, Disk, DiskError, Segment};
use kiln_vmm::virtio::Stop;
use kiln_vmm::virtio::block::BlockGate;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rounds in which the two alternate, and the freezes of each.
const ROUNDS: usize = 5;
const FREEZES: usize = 50;
/// As many as a block device has at most.
const THREADS: u64 = 4;
/// Bytes of a request.
const LEN: usize = 4096;
/// Places that are written to, all over the disk.
const PLACES: u64 = 4096;
/// Every so many requests each thread flushes, as a guest's journal does.
const FLUSH_EVERY: u64 = 64;
/// Load between two freezes.
const BETWEEN: Duration = Duration::from_millis(30);
/// The longest that one in a hundred freezes may keep a disk still, in milliseconds.
const LIMIT: f64 = 5.0;
const SIZES: [(&str, u64); 2] = [("1 GiB", 1 << 30), ("4 TiB", 4 << 40)];

/// What one of the two came to, in milliseconds.
#[derive(Default)]
struct Stalls {
    /// How long the gate was closed, or the transaction took.
    closed: Vec<f64>,
    /// The longest write that was under way meanwhile.
    waited: Vec<f64>,
}

/// Who takes requests: one of these for each thread.
pub(crate) trait Requests: Send {
    fn write(&mut self, offset: u64, bytes: &[u8]);
    fn flush(&mut self);
}

/// A disk behind the gate of a block device, through which each of its requests goes.
struct Gated<'a> {
    disk: &'a Chain,
    gate: &'a BlockGate,
    stop: Stop,
}

impl Gated<'_> {
    fn request(&self, work: impl FnOnce(&Chain) -> Result<(), DiskError>) {
        let _passage = self.gate.pass(&self.stop).expect("nobody stops it");
        work(self.disk).expect("the disk does as it is told");
    }
}

impl Requests for Gated<'_> {
    // As the device does it: what makes data durable goes through the gate, and does not keep it from closing.

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.request(|disk| disk.write(offset, &[Segment::from_ref(bytes)]));
        self.disk.settle().expect("the disk does as it is told");
    }

    fn flush(&mut self) {
        self.request(|_| Ok(()));
        self.disk.flush().expect("the disk does as it is told");
    }
}

/// Runs all of it.
pub(crate) fn compare() -> Comparison {
    let mut figures = Vec::new();
    for (name, size) in SIZES {
        let mut stalls = [Stalls::default(), Stalls::default()];
        for round in 1..=ROUNDS {
            let folder = tempfile::tempdir().expect("a temporary folder");
            qemu(folder.path(), size, &mut stalls[0]);
            let folder = tempfile::tempdir().expect("a temporary folder");
            kiln(folder.path(), size, &mut stalls[1]);
            eprintln!("freeze, {name}, round {round} of {ROUNDS}: done");
        }
        let [qemu, kiln] = &mut stalls;
        let closed = "transaction, or gate closed to open";
        let waited = "longest write meanwhile";
        for (what, both, limit) in [
            (closed, [&mut qemu.closed, &mut kiln.closed], Some(LIMIT)),
            (waited, [&mut qemu.waited, &mut kiln.waited], None),
        ] {
            for (part, share) in [("p50", 0.5), ("p99", 0.99), ("longest", 1.0)] {
                let what = format!("{name}: {what}, {part}");
                let mut values = [quantile_of(both[0], share), quantile_of(both[1], share)];
                let figure = Figure::new(what, "ms", &mut values, f64::INFINITY);
                let limit = limit.filter(|_| part == "p99");
                figures.push(limit.into_iter().fold(figure, Figure::at_most));
            }
        }
    }
    Comparison {
        title: "Freezes of a disk that four threads write to, natively",
        each: format!("percentiles of {} freezes", ROUNDS * FREEZES),
        of: ["QEMU blockdev-snapshot", "kiln"],
        figures,
        failure: None,
    }
}

/// The value below which this share of the samples lies, alone.
fn quantile_of(samples: &mut [f64], share: f64) -> Vec<f64> {
    samples.sort_by(f64::total_cmp);
    let last = samples.len() - 1;
    let place = (last as f64 * share).ceil() as usize;
    vec![samples[place.min(last)]]
}

/// Writes without pause until `stop`; when each request began, and how long it took.
fn load(mut disk: impl Requests, thread: u64, size: u64, stop: &AtomicBool) -> Vec<(Instant, Duration)> {
    let bytes = vec![thread as u8 + 1; LEN];
    let (mut requests, mut number) = (Vec::new(), thread);
    while !stop.load(Ordering::Relaxed) {
        // The places in an order without pattern; each thread has its own.
        let place = number.wrapping_mul(2_654_435_761) % PLACES;
        let began = Instant::now();
        disk.write(size / PLACES * place, &bytes);
        requests.push((began, began.elapsed()));
        number += THREADS;
        if number % (FLUSH_EVERY * THREADS) == thread {
            disk.flush();
        }
    }
    requests
}

/// Puts load on the disk and freezes it; what the load's requests and the freezes took.
fn freezes<D: Requests>(
    disks: Vec<D>,
    size: u64,
    stalls: &mut Stalls,
    mut freeze: impl FnMut(usize) -> (Duration, Duration),
) {
    let stop = AtomicBool::new(false);
    let (mut windows, mut requests) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(disks)
            .map(|(thread, disk)| {
                scope.spawn({
                    let stop = &stop;
                    move || load(disk, thread, size, stop)
                })
            })
            .collect();
        for number in 1..=FREEZES {
            std::thread::sleep(BETWEEN);
            let began = Instant::now();
            let (prepared, closed) = freeze(number);
            windows.push((began + prepared, began.elapsed() - prepared));
            stalls.closed.push(closed.as_secs_f64() * 1000.0);
        }
        std::thread::sleep(BETWEEN);
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            requests.extend(thread.join().expect("no request fails"));
        }
    });
    for (began, length) in windows {
        let meanwhile = requests
            .iter()
            .filter(|(start, took)| *start < began + length && began < *start + *took);
        // None: all threads flushed.
        let longest = meanwhile.map(|(_, took)| *took).max().unwrap_or_default();
        stalls.waited.push(longest.as_secs_f64() * 1000.0);
    }
}

/// The overlay of this number, on the layer before it.
fn overlay(folder: &Path, number: usize, size: u64) -> std::path::PathBuf {
    let path = folder.join(number.to_string());
    kiln_imagefmt::create_overlay(&path, &(number - 1).to_string(), size).expect("an overlay");
    path
}

fn kiln(folder: &Path, size: u64, stalls: &mut Stalls) {
    let base = folder.join("0");
    kiln_imagefmt::create_base(&base, size).expect("an empty disk");
    let disk = Chain::open_path(&base, Access::ReadWrite).expect("a disk");
    let gate = BlockGate::default();
    let gated = |_| Gated {
        disk: &disk,
        gate: &gate,
        stop: Stop::new().expect("a descriptor can be had"),
    };
    freezes((0..THREADS).map(gated).collect(), size, stalls, |number| {
        let began = Instant::now();
        let path = overlay(folder, number, size);
        let file = std::fs::File::options().read(true).write(true).open(path);
        let overlay = disk.prepare(file.expect("the overlay")).expect("it fits");
        let prepared = began.elapsed();
        gate.close();
        let sealing = disk.swap(overlay);
        gate.open();
        let closed = began.elapsed() - prepared;
        disk.sync_sealing(sealing).expect("it is durable");
        (prepared, closed)
    });
}

fn qemu(folder: &Path, size: u64, stalls: &mut Stalls) {
    kiln_imagefmt::create_base(&folder.join("0"), size).expect("an empty disk");
    let mut daemon = StorageDaemon::start(folder);
    let connections: Vec<Connection> = (0..THREADS).map(|_| daemon.connect()).collect();
    freezes(connections, size, stalls, |number| {
        let began = Instant::now();
        let path = overlay(folder, number, size);
        daemon.add_overlay(number, &path);
        let prepared = began.elapsed();
        daemon.snapshot(number);
        (prepared, began.elapsed() - prepared)
    });
}
