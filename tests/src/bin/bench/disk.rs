//! Disks: the threads of a block device over `imagefmt`, against `qemu-img bench` on the same files with the same
//! requests. No guest: an exit would cost more than any layer that is measured here.

use crate::comparison::{Comparison, Figure, MEDIAN, ROUNDS};
use kiln_imagefmt::{Access, Chain, Disk, RawDisk, Segment};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// As large as stays in the host's memory: the layers are measured, not its disk.
const SIZE: u64 = 256 << 20;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Read,
    Overwrite,
    /// Writes where nothing was written before.
    NewClusters,
    /// The same over a full base.
    CopyOnWrite,
}

/// Which requests, of how many bytes, how far apart.
#[derive(Clone, Copy)]
struct Pattern {
    name: &'static str,
    len: u64,
    step: u64,
    count: u64,
}

const PATTERNS: [Pattern; 2] = [
    Pattern {
        name: "4 KiB at a large odd stride",
        len: 4096,
        step: 4096 * 16411,
        count: 4096,
    },
    Pattern {
        name: "1 MiB sequential",
        len: 1 << 20,
        step: 1 << 20,
        count: 256,
    },
];

/// Requests in flight, and the threads that serve them: as many as a block device has at most.
const DEPTHS: [(u64, usize); 2] = [(1, 1), (32, 4)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Raw,
    Qcow2,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        }
    }
}

/// Runs all of it.
pub(crate) fn compare() -> Comparison {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = Files::make(folder.path());
    let mut figures = Vec::new();
    for format in [Format::Raw, Format::Qcow2] {
        for (work, name) in [
            (Work::Read, "read"),
            (Work::Overwrite, "overwrite"),
            (Work::NewClusters, "new clusters"),
            (Work::CopyOnWrite, "copy-on-write"),
        ] {
            if (format, work) == (Format::Raw, Work::CopyOnWrite) {
                continue;
            }
            for pattern in PATTERNS {
                for (depth, threads) in DEPTHS {
                    let mut samples = [vec![], vec![]];
                    for _ in 0..ROUNDS {
                        let file = files.fresh(format, work);
                        samples[0].push(qemu(&file, format, work, pattern, depth));
                        let file = files.fresh(format, work);
                        samples[1].push(kiln(&file, format, work, pattern, threads));
                    }
                    let what = format!("{}: {name}, {}, depth {depth}", format.name(), pattern.name);
                    figures.push(Figure::new(what, "ms", &mut samples, 1.05));
                }
            }
        }
    }
    Comparison {
        title: "Disks, natively",
        each: MEDIAN,
        of: ["qemu-img bench", "kiln"],
        figures,
    }
}

/// The files that are measured.
struct Files {
    folder: PathBuf,
}

impl Files {
    /// Makes the full ones.
    fn make(folder: &Path) -> Files {
        let files = Files {
            folder: folder.to_owned(),
        };
        let raw = files.path("full.raw");
        let mut content = vec![0_u8; usize::try_from(SIZE).expect("it fits")];
        for (place, byte) in (0_u32..).zip(&mut content) {
            *byte = (place.wrapping_mul(2_654_435_761) >> 24) as u8;
        }
        std::fs::write(&raw, content).expect("a full disk");
        let full = files.path("full.qcow2");
        run(Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .args([&raw, &full]));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file for one run.
    fn fresh(&self, format: Format, work: Work) -> PathBuf {
        let full = self.path(&format!("full.{}", format.name()));
        let new = self.path(&format!("new.{}", format.name()));
        match (work, format) {
            (Work::Read | Work::Overwrite, _) => return full,
            (_, Format::Raw) => std::fs::File::create(&new)
                .and_then(|file| file.set_len(SIZE))
                .expect("an empty disk"),
            (Work::CopyOnWrite, _) => {
                let _ = std::fs::remove_file(&new);
                kiln_imagefmt::create_overlay(&new, "full.qcow2", SIZE).expect("an overlay");
            }
            (Work::NewClusters, _) => {
                let _ = std::fs::remove_file(&new);
                kiln_imagefmt::create_base(&new, SIZE).expect("an empty disk");
            }
        }
        new
    }
}

/// What `qemu-img bench` takes, in milliseconds.
fn qemu(file: &Path, format: Format, work: Work, pattern: Pattern, depth: u64) -> f64 {
    let mut command = Command::new("qemu-img");
    command.args(["bench", "-f", format.name(), "-t", "writeback"]);
    for (option, value) in [
        ("-c", pattern.count),
        ("-d", depth),
        ("-s", pattern.len),
        ("-S", pattern.step),
    ] {
        command.args([option, &value.to_string()]);
    }
    if work != Work::Read {
        command.arg("-w");
    }
    let said = run(command.arg(file));
    let seconds = said.split("Run completed in ").nth(1);
    let seconds = seconds.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    seconds.expect("qemu-img bench says how long it took") * 1000.0
}

/// What the same requests take here, in milliseconds.
fn kiln(file: &Path, format: Format, work: Work, pattern: Pattern, threads: usize) -> f64 {
    let access = if work == Work::Read {
        Access::ReadOnly
    } else {
        Access::ReadWrite
    };
    let disk: Box<dyn Disk> = match format {
        Format::Raw => {
            let file = std::fs::File::options()
                .read(true)
                .write(work != Work::Read)
                .open(file)
                .expect("it is there");
            Box::new(RawDisk::open(file, access).expect("a raw disk"))
        }
        Format::Qcow2 => Box::new(Chain::open_path(file, access).expect("a chain")),
    };
    let next = AtomicU64::new(0);
    // As of the other side, threads and buffers are there before the time begins.
    let ready = Barrier::new(threads + 1);
    let began = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = vec![7_u8; usize::try_from(pattern.len).expect("it fits")];
                ready.wait();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= pattern.count {
                        break;
                    }
                    let offset = number.wrapping_mul(pattern.step) % SIZE;
                    let done = match work {
                        Work::Read => disk.read(offset, &[Segment::from_mut(&mut buffer)]),
                        _ => disk.write(offset, &[Segment::from_ref(&buffer)]),
                    };
                    done.expect("a sound disk");
                }
            });
        }
        let began = Instant::now();
        ready.wait();
        began
    });
    began.elapsed().as_secs_f64() * 1000.0
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("qemu-img runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
