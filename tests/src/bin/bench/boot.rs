//! Boots: the same kernel and init under Kiln and under QEMU, where guests run; and what a VMM needs before its guest's
//! first instruction, on this host.

use crate::comparison::{Comparison, Figure, ROUNDS, median_of};
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

/// More than any kernel has.
const KERNEL_LIMIT: u64 = 256 << 20;
/// What the two may have beyond their guest's memory, in KiB.
const MEMORY_LIMIT: f64 = 8.0 * 1024.0;

/// Boots Debian's kernel to its first process.
pub(crate) fn compare() -> Comparison {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Tiny {
        bzimage,
        vmlinux,
        initrd,
        ..
    } = &tiny(folder.path());
    let mut figures = Vec::new();
    let pairs = [
        (Vmm::Microvm, "PVH", vmlinux),
        (Vmm::Microvm, "bzImage", bzimage),
        (Vmm::Q35, "PVH", vmlinux),
        (Vmm::Q35, "bzImage", bzimage),
    ];
    let mut failure = None;
    for (peer, form, kernel) in pairs {
        let guest = Guest {
            kernel,
            initrd: Some(initrd),
            memory: 256,
            words: "",
            disks: &[],
            says: INIT_SAYS,
        };
        let [mut time, mut memory] = Default::default();
        failure = failure.or_else(|| alternate(folder.path(), peer, &guest, &mut time, &mut memory).err());
        let name = format!("{form}, {}", peer.name());
        figures.push(Figure::new(format!("exec to init, {name}"), "ms", &mut time, 1.0));
        let figure = Figure::new(format!("private memory, {name}"), "KiB", &mut memory, 1.0);
        figures.push(figure.at_most(MEMORY_LIMIT));
    }
    Comparison {
        title: "Boot of Debian's kernel",
        each: median_of(ROUNDS),
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
    let [mut time, mut memory] = Default::default();
    let failure = alternate(folder.path(), Vmm::Microvm, &guest, &mut time, &mut memory).err();
    let memory = Figure::new("private memory", "KiB", &mut memory, 1.0).at_most(MEMORY_LIMIT);
    Comparison {
        title: "Start of a guest of a few instructions, natively",
        each: median_of(ROUNDS),
        of: ["QEMU microvm", "kiln-vmm"],
        figures: vec![
            Figure::new("exec to the first port write", "ms", &mut time, 1.0),
            memory,
        ],
        failure,
    }
}

/// Times and memory of the peer and of ours, in turn.
fn alternate(
    folder: &Path,
    peer: Vmm,
    guest: &Guest<'_>,
    times: &mut [Vec<f64>; 2],
    memories: &mut [Vec<f64>; 2],
) -> Result<(), String> {
    let programs = Programs::copy_to(folder)?;
    for _ in 0..ROUNDS {
        for (n, vmm) in [peer, Vmm::Kiln].into_iter().enumerate() {
            let Boot { time, memory, .. } = vmm.boot(&programs, guest)?;
            times[n].push(time);
            memories[n].push(memory);
        }
    }
    Ok(())
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
