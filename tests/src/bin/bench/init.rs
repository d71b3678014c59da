//! The first process of a guest that is booted to be measured: this same program, as `/init`.

use crate::share::share_out;
use rustix::fs::OFlags;
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Command;

/// What it says when it is there.
pub(crate) const INIT_SAYS: &str = "kiln-bench: init";

/// The word on the kernel's command line by which it measures disks.
pub(crate) const DISKS: &str = "measure-disks";

/// What comes before a figure: `kiln-bench: WHAT = MILLISECONDS`.
pub(crate) const FIGURE: &str = "kiln-bench: ";

/// What it says when all is measured, or could not be.
pub(crate) const END_SAYS: &str = "kiln-bench: end";

/// Bytes of a disk; each pattern at each depth has a quarter of it.
pub(crate) const SIZE: u64 = 256 << 20;

/// The disks in their order, and what is done with each: what it shows is written beside it.
const WORKS: [(&str, &str, Access); 7] = [
    ("/dev/vda", "raw: read", Access::Read),
    ("/dev/vda", "raw: overwrite", Access::Write),
    ("/dev/vdb", "qcow2: read", Access::Read),
    ("/dev/vdb", "qcow2: overwrite", Access::Write),
    ("/dev/vdc", "qcow2: new clusters", Access::Write),
    ("/dev/vdd", "qcow2: copy-on-write", Access::Write),
    ("/dev/vde", "raw: new clusters", Access::Write),
];

/// Name, bytes of a request, bytes from one to the next, requests, requests in flight.
type Pattern = (&'static str, usize, u64, u64, usize);

/// The stride makes each request of a disk that is empty, or empty above another, one for a cluster of its own. All that is
/// written stays below what the host's kernel begins to write out meanwhile, a tenth of its memory.
const PATTERNS: [Pattern; 4] = [
    ("4 KiB at an odd stride, depth 1", 4096, 4096 * 27, 256, 1),
    ("4 KiB at an odd stride, depth 32", 4096, 4096 * 27, 512, 32),
    ("1 MiB sequential, depth 1", 1 << 20, 1 << 20, 32, 1),
    ("1 MiB sequential, depth 32", 1 << 20, 1 << 20, 32, 32),
];

/// What is measured, in its order.
pub(crate) fn works() -> impl Iterator<Item = String> {
    WORKS
        .iter()
        .flat_map(|(_, work, _)| PATTERNS.map(|pattern| name(work, pattern)))
}

fn name(work: &str, pattern: Pattern) -> String {
    format!("{work}, {}", pattern.0)
}

/// How a disk is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// Says that it is there, measures the guest's disks if it is told to, and stays.
pub(crate) fn init() -> ! {
    println!("{INIT_SAYS}");
    // A word that the kernel does not know is handed to init.
    if std::env::args().any(|word| word == DISKS) {
        if let Err(error) = measure() {
            println!("{FIGURE}{error}");
        }
        println!("{END_SAYS}");
    }
    loop {
        std::thread::park();
    }
}

fn measure() -> std::io::Result<()> {
    busybox(&["mount", "-t", "devtmpfs", "dev", "/dev"])?;
    let mut modules: Vec<_> = std::fs::read_dir("/modules")?
        .filter_map(|entry| entry.ok()?.path().to_str().map(str::to_owned))
        .collect();
    modules.sort();
    for module in &modules {
        // One that has nothing to drive says so, and is no matter: a disk that is then not there is.
        let _ = busybox(&["insmod", module]);
    }
    for (disk, work, access) in WORKS {
        for (quarter, pattern) in (0..).zip(PATTERNS) {
            let name = name(work, pattern);
            let milliseconds = run(disk, access, quarter * SIZE / 4, pattern)
                .map_err(|error| std::io::Error::other(format!("{name}: {error}")))?;
            println!("{FIGURE}{name} = {milliseconds:.3}");
        }
    }
    Ok(())
}

fn busybox(arguments: &[&str]) -> std::io::Result<()> {
    let status = Command::new("/bin/busybox").args(arguments).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("{arguments:?} failed")))
    }
}

/// Does the requests of a pattern from `start` on, past the guest's own cache. Milliseconds.
fn run(disk: &str, access: Access, start: u64, pattern: Pattern) -> std::io::Result<f64> {
    let (_, len, step, count, depth) = pattern;
    let direct = i32::try_from(OFlags::DIRECT.bits()).expect("a small flag");
    let file = File::options()
        .read(true)
        .write(access == Access::Write)
        .custom_flags(direct)
        .open(disk)?;
    share_out(count, depth, len, |number, buffer| {
        let offset = start + number * step % (SIZE / 4);
        match access {
            Access::Read => file.read_exact_at(buffer, offset),
            Access::Write => file.write_all_at(buffer, offset),
        }
    })
}
