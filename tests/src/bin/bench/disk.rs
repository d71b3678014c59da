//! Disks: the threads of a block device over `imagefmt`, against `qemu-img bench` on the same files with the same
//! requests. No guest: an exit would cost more than any layer that is measured here.

use crate::comparison::{Comparison, Figure, ROUNDS, median_of};
use crate::share::share_out;
use kiln_imagefmt::{Access, Chain, Disk, RawDisk, Segment};
use std::path::{Path, PathBuf};
use std::process::Command;

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
    full(folder.path(), SIZE);
    let files = Files {
        folder: folder.path().to_owned(),
    };
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
        each: median_of(ROUNDS),
        of: ["qemu-img bench", "kiln"],
        figures,
        failure: None,
    }
}

/// Makes a raw disk and a qcow2 one that are full: `full.raw`, `full.qcow2`.
pub(crate) fn full(folder: &Path, size: u64) -> [PathBuf; 2] {
    let [raw, qcow2] = ["full.raw", "full.qcow2"].map(|name| folder.join(name));
    let mut content = vec![0_u8; usize::try_from(size).expect("it fits")];
    for (place, byte) in (0_u32..).zip(&mut content) {
        *byte = (place.wrapping_mul(2_654_435_761) >> 24) as u8;
    }
    std::fs::write(&raw, content).expect("a full disk");
    run(Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args([&raw, &qcow2]));
    [raw, qcow2]
}

/// The files that are measured.
struct Files {
    folder: PathBuf,
}

impl Files {
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
    let len = usize::try_from(pattern.len).expect("it fits");
    let took = share_out(pattern.count, threads, len, |number, buffer| {
        let offset = number.wrapping_mul(pattern.step) % SIZE;
        let done = match work {
            Work::Read => disk.read(offset, &[Segment::from_mut(buffer)]),
            _ => disk.write(offset, &[Segment::from_ref(buffer)]),
        };
        done.map_err(std::io::Error::other)
    });
    took.expect("a sound disk")
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("qemu-img runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
