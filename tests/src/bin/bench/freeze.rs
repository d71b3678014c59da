//! Freezes under load: threads write to a disk as fast as they can while it gets one overlay after the other. Natively,
//! without a guest; beside it QEMU's storage daemon, which takes the same requests over NBD and the same number of
//! `blockdev-snapshot` transactions.
//!
//! Kiln's stall ends when the first request passes the gate again, if the thread that opened it comes to read the clock
//! later than that: whoever it lets go on may take the processor from it.
//!
//! One of the threads flushes as well, as a journal does; if all did, they would mostly wait for the host's disk, and a
//! freeze would find nothing to wait for. What a writer sees is measured alike of both: the longest of the writes that
//! were under way while a freeze was, from its call until its answer, when Kiln's old layer is durable. How many freezes
//! found any is a figure, too. Flushes are not among them: they take what the host's disk takes.

use crate::comparison::{Comparison, Figure};
use crate::storage_daemon::{Connection, StorageDaemon};
use kiln_imagefmt::{Access, Chain, Disk, DiskError, Segment};
use kiln_vmm::virtio::Stop;
use kiln_vmm::virtio::block::BlockGate;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Rounds in which the two alternate, and the freezes of each.
const ROUNDS: usize = 5;
const FREEZES: usize = 50;
/// Bytes of a request.
const LEN: usize = 4096;
/// Places that are written to, all over the disk.
const PLACES: u64 = 4096;
/// Every so many requests the first thread flushes.
const FLUSH_EVERY: usize = 64;
/// Load between two freezes.
const BETWEEN: Duration = Duration::from_millis(30);
/// The longest that one in a hundred freezes may keep a disk still, in milliseconds.
const LIMIT: f64 = 5.0;
/// As many threads as a block device has at most.
const THREADS: u64 = 4;
/// Name, and bytes of the disk.
const CASES: [(&str, u64); 2] = [("1 GiB", 1 << 30), ("4 TiB", 4 << 40)];

/// What one of the two came to, in milliseconds.
#[derive(Default)]
struct Stalls {
    /// From when the gate began to close until it was open, or how long the transaction took.
    closed: Vec<f64>,
    /// How many found a write under way when they began. The others had nothing to wait for.
    found: usize,
    /// The longest write that was under way meanwhile, of those beside which there was one.
    waited: Vec<f64>,
}

impl Stalls {
    /// In percent of the freezes.
    fn share_that_found(&self) -> f64 {
        100.0 * self.found as f64 / self.closed.len() as f64
    }
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
    /// When the first request passed since it was last taken.
    passed: &'a Mutex<Option<Instant>>,
}

impl Gated<'_> {
    fn request(&self, work: impl FnOnce(&Chain) -> Result<(), DiskError>) {
        let _passage = self.gate.pass(&self.stop).expect("nobody stops it");
        lock(self.passed).get_or_insert_with(Instant::now);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

/// Runs all of it.
pub(crate) fn compare() -> Comparison {
    let mut figures = Vec::new();
    for (name, size) in CASES {
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
        let mut found = [qemu, kiln].map(|stalls| vec![stalls.share_that_found()]);
        let what = format!("{name}: freezes that found writes under way");
        figures.push(Figure::new(what, "%", &mut found, f64::INFINITY));
    }
    Comparison {
        title: "Freezes of a disk that threads write to, natively",
        each: format!("percentiles of {} freezes", ROUNDS * FREEZES),
        of: ["QEMU blockdev-snapshot", "kiln"],
        figures,
        failure: None,
    }
}

/// The value below which this share of the samples lies, alone; none of none.
fn quantile_of(samples: &mut [f64], share: f64) -> Vec<f64> {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    let place = (last as f64 * share).ceil() as usize;
    samples.get(place.min(last)).copied().into_iter().collect()
}

/// One of the threads that write to a disk.
struct Writer {
    number: u64,
    of: u64,
}

impl Writer {
    /// Writes without pause until `stop`; when each request began, and how long it took.
    fn load(self, mut disk: impl Requests, size: u64, stop: &AtomicBool) -> Vec<(Instant, Duration)> {
        let bytes = vec![self.number as u8 + 1; LEN];
        let mut requests = Vec::new();
        // The places in an order without pattern; each thread has its own.
        for number in (self.number..).step_by(self.of as usize) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let place = number.wrapping_mul(2_654_435_761) % PLACES;
            let began = Instant::now();
            disk.write(size / PLACES * place, &bytes);
            requests.push((began, began.elapsed()));
            if self.number == 0 && requests.len().is_multiple_of(FLUSH_EVERY) {
                disk.flush();
            }
        }
        requests
    }
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
        let of = disks.len() as u64;
        let threads: Vec<_> = (0..)
            .zip(disks)
            .map(|(number, disk)| {
                scope.spawn({
                    let stop = &stop;
                    move || Writer { number, of }.load(disk, size, stop)
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
        let mut found = requests.iter();
        let found = found.any(|(start, took)| *start < began && began < *start + *took);
        stalls.found += usize::from(found);
        let longest = meanwhile.map(|(_, took)| took.as_secs_f64() * 1000.0);
        stalls.waited.extend(longest.max_by(f64::total_cmp));
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
    let passed = Mutex::default();
    let gated = |_| Gated {
        disk: &disk,
        gate: &gate,
        stop: Stop::new().expect("a descriptor can be had"),
        passed: &passed,
    };
    freezes((0..THREADS).map(gated).collect(), size, stalls, |number| {
        let began = Instant::now();
        let path = overlay(folder, number, size);
        let file = std::fs::File::options().read(true).write(true).open(path);
        let overlay = disk.prepare(file.expect("the overlay")).expect("it fits");
        let prepared = began.elapsed();
        gate.close();
        let sealing = disk.swap(overlay);
        // Nobody passes as long as it is closed.
        lock(&passed).take();
        gate.open();
        let returned = Instant::now();
        let open = lock(&passed).map_or(returned, |first| first.min(returned));
        let closed = open - began - prepared;
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
