//! Boots: the same kernel and init under Kiln and under QEMU, where guests run; and what a VMM needs before its guest's
//! first instruction, on this host.

use crate::comparison::{Comparison, Figure, median, median_of, rounds};
use crate::init::INIT_SAYS;
use crate::memory::private;
use crate::programs::Programs;
use crate::rival::{Boot, By, Guest, Vmm};
use crate::tiny::Tiny;
use kiln_tests::{Home, Program};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// What a VMM may, and parent and VMM of an instance together may have beyond their guest's memory, in KiB.
const MEMORY_LIMIT: f64 = 8.0 * 1024.0;
/// The memory of an instance of type t3.nano, in KiB.
const NANO: u64 = 512 << 10;

/// Rounds go on for so long. One of six boots takes a minute and more where virtualization is emulated.
const LIMIT: Duration = Duration::from_secs(600);

/// What the boots of one guest under one VMM came to.
#[derive(Default)]
struct Samples {
    times: Vec<f64>,
    memories: Vec<f64>,
}

/// Boots Debian's kernel to its first process.
pub(crate) fn compare() -> Comparison {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tiny = Tiny::write_to(folder.path());
    let forms = [("PVH", &tiny.vmlinux), ("bzImage", &tiny.bzimage)];
    let guests = forms.map(|(_, kernel)| Guest {
        by: By::Kernel(kernel, Some(&tiny.initrd)),
        memory: 256,
        words: "",
        disks: &[],
        says: &[INIT_SAYS],
    });
    let mut samples: [[Samples; 3]; 2] = Default::default();
    let vmms = [Vmm::Microvm, Vmm::Q35, Vmm::Kiln];
    let together = memory_of_instance();
    let booted = rotate(folder.path(), vmms, &guests, &mut samples);
    let mut figures = Vec::new();
    for ((form, _), [microvm, q35, kiln]) in forms.iter().zip(&samples) {
        for (peer, name) in [(microvm, Vmm::Microvm.name()), (q35, Vmm::Q35.name())] {
            let what = [
                format!("exec to init, {form}, {name}"),
                format!("private memory, {form}, {name}"),
            ];
            figures.extend(beside(what, peer, kiln));
        }
    }
    let fastest = |vmms: Range<usize>| {
        let all = samples.iter().flat_map(|each| &each[vmms.clone()]);
        let times = all.map(|samples| samples.times.clone());
        times.min_by(|a, b| median(&mut a.clone()).total_cmp(&median(&mut b.clone())))
    };
    let mut best = [0..2, 2..3].map(|vmms| fastest(vmms).unwrap_or_default());
    figures.push(Figure::new(
        "exec to init, the best of all above",
        "ms",
        &mut best,
        1.0,
    ));
    let [_, [microvm, ..]] = &samples;
    let mut memories = [microvm.memories.clone(), together.iter().copied().collect()];
    let what = "private memory, parent and VMM of one instance, bzImage, QEMU microvm";
    figures.push(Figure::new(what, "KiB", &mut memories, 1.0).at_most(MEMORY_LIMIT));
    Comparison {
        title: "Boot of Debian's kernel",
        each: median_of(rounds_of(&samples)),
        of: ["QEMU", "kiln-vmm"],
        figures,
        failure: booted.err().or_else(|| together.err()),
    }
}

/// Starts a guest whose first instructions write to its serial port.
pub(crate) fn compare_start() -> Comparison {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kernel = folder.path().join("micro.elf");
    std::fs::write(&kernel, Program::default().print("!").halt().elf()).expect("written");
    let guest = Guest {
        by: By::Kernel(&kernel, None),
        memory: 128,
        words: "",
        disks: &[],
        says: &["!"],
    };
    let mut samples: [[Samples; 2]; 1] = Default::default();
    let failure = rotate(folder.path(), [Vmm::Microvm, Vmm::Kiln], &[guest], &mut samples).err();
    let each = median_of(rounds_of(&samples));
    let [[peer, kiln]] = &samples;
    let what = ["exec to the first port write", "private memory"].map(str::to_owned);
    Comparison {
        title: "Start of a guest of a few instructions, natively",
        each,
        of: ["QEMU microvm", "kiln-vmm"],
        figures: beside(what, peer, kiln).into(),
        failure,
    }
}

/// Boots each guest under each VMM, in turns that begin with another one each time. One of which a boot fails gets no more
/// turns; the others do.
fn rotate<const N: usize>(
    folder: &Path,
    vmms: [Vmm; N],
    guests: &[Guest<'_>],
    samples: &mut [[Samples; N]],
) -> Result<(), String> {
    let programs = Programs::copy_to(folder)?;
    // All those files are not written out during the first round.
    rustix::fs::sync();
    let mut failed = [const { None }; N];
    for round in rounds(LIMIT) {
        for (guest, samples) in guests.iter().zip(&mut *samples) {
            for turn in 0..N {
                let n = (round as usize + turn) % N;
                if failed[n].is_some() {
                    continue;
                }
                match vmms[n].boot(&programs, guest) {
                    Ok(Boot { times, memory, .. }) => {
                        samples[n].times.extend(times);
                        samples[n].memories.push(memory);
                    }
                    Err(why) => failed[n] = Some(why),
                }
            }
        }
    }
    let failed: Vec<String> = failed.into_iter().flatten().collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}

/// What the two processes of an instance have beyond the guest's memory, in KiB.
fn memory_of_instance() -> Result<f64, String> {
    let home = Home::new();
    let launched = home.kiln(&["-q", "run", "tiny", "--wait", "agent", "--type", "t3.nano"]);
    if launched.status != 0 {
        return Err(format!("there is no instance to measure: {launched:?}"));
    }
    let instance = kiln_tests::Guest::new(&home, launched.text());
    let processes = instance.processes();
    if processes.len() != 2 {
        return Err(format!(
            "parent and VMM of an instance are {processes:?}, not two processes"
        ));
    }
    let memory = private(&processes, NANO)?;
    eprintln!("instance of tiny: {memory:.0} KiB");
    Ok(memory)
}

/// How many rounds all of them had.
fn rounds_of<const N: usize>(samples: &[[Samples; N]]) -> usize {
    let each = samples.iter().flatten().map(|samples| samples.times.len());
    each.min().unwrap_or(0)
}

/// Times and memory of a peer and of ours, by these names.
fn beside([time, memory]: [String; 2], peer: &Samples, kiln: &Samples) -> [Figure; 2] {
    let mut times = [peer.times.clone(), kiln.times.clone()];
    let mut memories = [peer.memories.clone(), kiln.memories.clone()];
    [
        Figure::new(time, "ms", &mut times, 1.0),
        Figure::new(memory, "KiB", &mut memories, 1.0).at_most(MEMORY_LIMIT),
    ]
}
