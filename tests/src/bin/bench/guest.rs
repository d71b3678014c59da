//! Disks as a guest sees them: under Kiln, and under QEMU with an iothread and io_uring, over the same files.

use crate::comparison::{Comparison, Figure, median_of, rounds};
use crate::disk::full;
use crate::init::{DISKS, END_SAYS, FIGURE, SIZE, works};
use crate::programs::Programs;
use crate::rival::{By, Guest, Vmm};
use crate::tiny::Tiny;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Rounds go on for so long. One of two guests takes minutes where virtualization is emulated.
const LIMIT: Duration = Duration::from_secs(1200);

/// What a guest measured: each kind of work, its milliseconds.
type Figures = Vec<(String, f64)>;

/// Boots guests which measure their disks.
pub(crate) fn compare() -> Comparison {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tiny = Tiny::write_to(folder.path());
    let full = full(folder.path(), SIZE);
    // Beside them a base for overlays, which is no disk of its own.
    std::fs::copy(&full[1], folder.path().join("base.qcow2")).expect("room for it");
    let names: Vec<String> = works().collect();
    let mut samples = vec![[vec![], vec![]]; names.len()];
    let failure = alternate(folder.path(), &tiny, &full, &names, &mut samples).err();
    let measured = samples.iter().flatten().map(Vec::len).min().unwrap_or(0);
    let figures = names.into_iter().zip(&mut samples);
    Comparison {
        title: "Disks as a guest sees them",
        each: median_of(measured),
        of: ["QEMU q35, iothread, io_uring", "kiln-vmm"],
        figures: figures
            .map(|(name, samples)| Figure::new(name, "ms", samples, 1.05))
            .collect(),
        failure,
    }
}

/// Has guests of both measure these works in turn.
fn alternate(
    folder: &Path,
    tiny: &Tiny,
    full: &[PathBuf; 2],
    names: &[String],
    samples: &mut [[Vec<f64>; 2]],
) -> Result<(), String> {
    let programs = Programs::copy_to(folder)?;
    for round in rounds(LIMIT) {
        // Another one is first each time.
        for side in [round as usize % 2, (round as usize + 1) % 2] {
            let vmm = [Vmm::Q35, Vmm::Kiln][side];
            let guest = Guest {
                by: By::Kernel(&tiny.bzimage, Some(&tiny.initrd_with_drivers)),
                memory: 256,
                words: DISKS,
                disks: &disks(folder, full),
                says: &[END_SAYS],
            };
            // What was written for this guest, or by the last one, is not written out while this one measures.
            rustix::fs::sync();
            let said = vmm.boot(&programs, &guest)?.said;
            let figures = figures(&said);
            if !figures.iter().map(|(name, _)| name).eq(names) {
                return Err(format!("{}: not all was measured: {said}", vmm.name()));
            }
            for (samples, (_, milliseconds)) in samples.iter_mut().zip(figures) {
                samples[side].push(milliseconds);
            }
        }
    }
    Ok(())
}

/// The disks of one guest: the full ones, a new empty one, a new overlay, and a new file without data.
fn disks(folder: &Path, [raw, qcow2]: &[PathBuf; 2]) -> [(PathBuf, &'static str); 5] {
    let [empty, overlay, sparse] =
        ["empty.qcow2", "overlay.qcow2", "sparse.raw"].map(|name| folder.join(name));
    for old in [&empty, &overlay, &sparse] {
        let _ = std::fs::remove_file(old);
    }
    let file = File::create(&sparse).and_then(|file| file.set_len(SIZE));
    file.expect("a file without data");
    kiln_imagefmt::create_base(&empty, SIZE).expect("an empty disk");
    kiln_imagefmt::create_overlay(&overlay, "base.qcow2", SIZE).expect("an overlay");
    [
        (raw.clone(), "raw"),
        (qcow2.clone(), "qcow2"),
        (empty, "qcow2"),
        (overlay, "qcow2"),
        (sparse, "raw"),
    ]
}

/// The lines that tell a figure.
fn figures(said: &str) -> Figures {
    let figure = |line: &str| {
        let (name, milliseconds) = line.trim().strip_prefix(FIGURE)?.split_once(" = ")?;
        Some((name.to_owned(), milliseconds.parse().ok()?))
    };
    said.lines().filter_map(figure).collect()
}
