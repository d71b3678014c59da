//! Many threads on one disk.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::harness::{CLUSTER, Folder, assert_clean, content};
use super::simulated::{Dice, World};
use crate::Chain;
use crate::disk::{Access, Disk, Unmap, read_exact_at, write_all_at};
use crate::io::{Host, Span, Storage};
use crate::qcow2::format;

const SECTORS: u64 = 4096;
const THREADS: u64 = 6;

#[test]
fn threads_that_share_clusters_keep_each_others_sectors_across_freezes() {
    let folder = Folder::new();
    let size = SECTORS * 512 + 32 * CLUSTER;
    folder.base("layer0", size);
    let disk = folder.open("layer0");
    let stop = AtomicBool::new(false);
    let mut want = vec![0; size as usize];
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|nth| {
                let disk = &disk;
                // Each thread owns every sixth sector, and reads its own back at once.
                scope.spawn(move || {
                    let mut dice = Dice(nth);
                    let mut mine = std::collections::HashMap::new();
                    for _ in 0..600 {
                        let sector = dice.roll(SECTORS / THREADS) * THREADS + nth;
                        let byte = dice.roll(255) as u8 + 1;
                        write_all_at(disk, sector * 512, &[byte; 512]).unwrap();
                        mine.insert(sector, byte);
                        let (check, byte) = mine.iter().next().unwrap();
                        let mut seen = [0; 512];
                        read_exact_at(disk, check * 512, &mut seen).unwrap();
                        assert_eq!(seen, [*byte; 512]);
                    }
                    mine
                })
            })
            .collect();
        let (disk, stop) = (&disk, &stop);
        let churn = scope.spawn(move || {
            // Allocates and frees in a region of its own.
            let mut dice = Dice(99);
            while !stop.load(Ordering::Relaxed) {
                let at = SECTORS * 512 + dice.roll(32) * CLUSTER;
                write_all_at(disk, at + 777, &[9; 70_000][..dice.roll(60_000) as usize]).unwrap();
                match dice.roll(3) {
                    0 => disk.discard(at, CLUSTER).unwrap(),
                    1 => disk.write_zeroes(at, CLUSTER, Unmap::Allowed).unwrap(),
                    _ => disk.flush().unwrap(),
                }
            }
            disk.write_zeroes(SECTORS * 512, 32 * CLUSTER, Unmap::Allowed)
                .unwrap();
        });
        let freezer = scope.spawn(|| {
            for nth in 1..5 {
                std::thread::sleep(Duration::from_millis(30));
                let name = format!("layer{nth}");
                folder.overlay(&name, &format!("layer{}", nth - 1), size);
                let sealing = disk.swap(disk.prepare(folder.file(&name)).unwrap());
                disk.sync_sealing(sealing).unwrap();
            }
        });
        for worker in workers {
            for (sector, byte) in worker.join().unwrap() {
                want[sector as usize * 512..][..512].fill(byte);
            }
        }
        freezer.join().unwrap();
        stop.store(true, Ordering::Relaxed);
        churn.join().unwrap();
    });
    assert!(content(&disk) == want);
    drop(disk);
    for nth in 0..5 {
        assert_clean(&folder.path(&format!("layer{nth}")));
    }
    assert!(content(&folder.open_read_only("layer4")) == want);
}

/// Lets reads of whole clusters pass only in pairs.
#[derive(Debug)]
struct Meeting {
    inner: Host,
    armed: AtomicBool,
    inside: Mutex<usize>,
    changed: Condvar,
    met: AtomicUsize,
    /// How long one waits for the other.
    limit: Duration,
}

impl Meeting {
    /// A disk of two MiB whose first clusters hold ones, and the place where its reads meet.
    fn disk(limit: Duration) -> (Arc<Self>, Chain) {
        let inner = World::default().file();
        format(&inner, None, 2 << 20).unwrap();
        let meeting = Arc::new(Self {
            inner,
            armed: AtomicBool::new(false),
            inside: Mutex::new(0),
            changed: Condvar::new(),
            met: AtomicUsize::new(0),
            limit,
        });
        let host = Host::new(meeting.clone(), "meeting");
        let disk = Chain::open_hosts(vec![host], Access::ReadWrite).unwrap();
        write_all_at(&disk, 0, &[1; 4 * CLUSTER as usize]).unwrap();
        meeting.armed.store(true, Ordering::SeqCst);
        (meeting, disk)
    }
}

impl Storage for Meeting {
    fn length(&self) -> io::Result<u64> {
        self.inner.length().map_err(io::Error::other)
    }

    fn read_at(&self, offset: u64, to: Span<'_, '_>) -> io::Result<usize> {
        if self.armed.load(Ordering::SeqCst) && to.len() == CLUSTER as usize {
            let mut inside = self.inside.lock().unwrap();
            *inside += 1;
            self.changed.notify_all();
            let waited = self
                .changed
                .wait_timeout_while(inside, self.limit, |inside| *inside < 2)
                .unwrap();
            if !waited.1.timed_out() {
                self.met.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.inner.read_or_zero(offset, to).map_err(io::Error::other)?;
        Ok(to.len())
    }

    fn write_at(&self, offset: u64, from: Span<'_, '_>) -> io::Result<()> {
        self.inner.write(offset, from).map_err(io::Error::other)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync().map_err(io::Error::other)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len).map_err(io::Error::other)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.punch_hole(offset, len).map_err(io::Error::other)
    }
}

#[test]
fn reads_of_allocated_clusters_are_in_flight_together() {
    let (meeting, disk) = Meeting::disk(Duration::from_secs(60));
    std::thread::scope(|scope| {
        for nth in 0..2 {
            let disk = &disk;
            scope.spawn(move || {
                let mut bytes = vec![0; CLUSTER as usize];
                read_exact_at(disk, nth * CLUSTER, &mut bytes).unwrap();
                assert!(bytes.iter().all(|byte| *byte == 1));
            });
        }
    });
    assert_eq!(meeting.met.load(Ordering::SeqCst), 2);
}

#[test]
fn a_read_that_a_discard_overtakes_never_shows_what_was_written_elsewhere() {
    // The reader waits on its way to the file; meanwhile its cluster is given back and taken for another.
    let (meeting, disk) = Meeting::disk(Duration::from_millis(500));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut bytes = vec![0; CLUSTER as usize];
            read_exact_at(&disk, 0, &mut bytes).unwrap();
            bytes
        });
        let mut inside = meeting.inside.lock().unwrap();
        while *inside == 0 {
            inside = meeting.changed.wait(inside).unwrap();
        }
        drop(inside);
        disk.discard(0, CLUSTER).unwrap();
        disk.flush().unwrap();
        write_all_at(&disk, 8 * CLUSTER, &[2; CLUSTER as usize]).unwrap();
        *meeting.inside.lock().unwrap() += 1;
        meeting.changed.notify_all();
        let seen = reader.join().unwrap();
        assert!(
            seen.iter().all(|byte| *byte < 2),
            "bytes of another cluster were read"
        );
    });
}
