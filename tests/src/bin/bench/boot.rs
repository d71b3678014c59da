//! Boots: the same kernel and init under Kiln and under QEMU, where guests run; and what a VMM needs before its guest's
//! first instruction, on this host.

use crate::comparison::{Comparison, Figure, median_of, rounds};
use crate::init::INIT_SAYS;
use crate::programs::Programs;
use crate::rival::{Boot, Guest, Vmm};
use kiln_guest_images::cpio::Archive;
use kiln_imagefmt::probe::{FileTree, Window};
use kiln_imagefmt::{Access, RawDisk};
use kiln_tests::Program;
use kiln_vmm::boot::payload::{Unpacked, unpack};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// More than any kernel has.
const KERNEL_LIMIT: u64 = 256 << 20;
/// What the two may have beyond their guest's memory, in KiB.
const MEMORY_LIMIT: f64 = 8.0 * 1024.0;

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
    let tiny = tiny(folder.path());
    let forms = [("PVH", &tiny.vmlinux), ("bzImage", &tiny.bzimage)];
    let guests = forms.map(|(_, kernel)| Guest {
        kernel,
        initrd: Some(&tiny.initrd),
        memory: 256,
        words: "",
        disks: &[],
        says: INIT_SAYS,
    });
    let mut samples: [[Samples; 3]; 2] = Default::default();
    let failure = rotate(
        folder.path(),
        [Vmm::Microvm, Vmm::Q35, Vmm::Kiln],
        &guests,
        &mut samples,
    )
    .err();
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
    Comparison {
        title: "Boot of Debian's kernel",
        each: median_of(rounds_of(&samples)),
        of: ["QEMU", "kiln-vmm"],
        figures,
        failure,
    }
}

/// Starts a guest whose first instructions write to its serial port.
pub(crate) fn compare_start() -> Comparison {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kernel = folder.path().join("micro.elf");
    std::fs::write(&kernel, Program::default().print("!").halt().elf()).expect("written");
    let guest = Guest {
        kernel: &kernel,
        initrd: None,
        memory: 128,
        words: "",
        disks: &[],
        says: "!",
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

/// Boots each guest under each VMM, in turn.
fn rotate<const N: usize>(
    folder: &Path,
    vmms: [Vmm; N],
    guests: &[Guest<'_>],
    samples: &mut [[Samples; N]],
) -> Result<(), String> {
    let programs = Programs::copy_to(folder)?;
    for _ in rounds(LIMIT) {
        for (guest, samples) in guests.iter().zip(&mut *samples) {
            for (vmm, samples) in vmms.iter().zip(samples) {
                let Boot { time, memory, .. } = vmm.boot(&programs, guest)?;
                samples.times.push(time);
                samples.memories.push(memory);
            }
        }
    }
    Ok(())
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

/// What guests are booted from.
pub(crate) struct Tiny {
    pub(crate) bzimage: PathBuf,
    /// The same kernel, unpacked.
    vmlinux: PathBuf,
    /// An initramfs whose init is this program.
    initrd: PathBuf,
    /// The same above the initramfs of the image `tiny`: its programs and its drivers.
    pub(crate) initrd_with_drivers: PathBuf,
}

/// The kernel and the initramfs of the image `tiny`, for guests whose init is this program.
pub(crate) fn tiny(folder: &Path) -> Tiny {
    let disk =
        std::env::var_os("KILN_TEST_DISK").expect("KILN_TEST_DISK is not set: run this by `make bench`");
    let disk = std::fs::File::open(&disk).expect("the disk of tiny");
    let disk = RawDisk::open(disk, Access::ReadOnly).expect("a raw disk");
    let files = FileTree::open(&Window::whole(Arc::new(disk))).expect("its file system");
    let read = |path| files.read(path, KERNEL_LIMIT).expect("tiny has it");
    let kernel = read("/boot/vmlinuz");
    let elf = match unpack(&kernel) {
        Ok(Unpacked::Vmlinux { elf, .. }) => Some(elf),
        _ => None,
    };
    let elf = elf.expect("Debian's kernel can be unpacked");
    let own = std::fs::read("/proc/self/exe").expect("this program");
    let mut archive = Archive::new(Vec::new(), 0);
    archive.directory("dev").expect("in memory");
    archive.character_device("dev/console", 5, 1).expect("in memory");
    archive.file("init", 0o755, &own).expect("in memory");
    let archive = archive.finish().expect("in memory");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    Tiny {
        bzimage: write("vmlinuz", &kernel),
        vmlinux: write("vmlinux", &elf),
        initrd: write("initrd", &archive),
        // Of two archives with a file of one name the kernel takes the later one.
        initrd_with_drivers: write(
            "initrd-with-drivers",
            &[read("/boot/initrd.img"), archive].concat(),
        ),
    }
}
