//! The kernel and the initramfs of the image `tiny`, for guests whose init is this program.

use kiln_guest_images::cpio::Archive;
use kiln_imagefmt::probe::{FileTree, Window};
use kiln_imagefmt::{Access, RawDisk};
use kiln_vmm::boot::payload::{Unpacked, unpack};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More than any kernel has.
const KERNEL_LIMIT: u64 = 256 << 20;

/// Files that guests are booted from.
pub(crate) struct Tiny {
    pub(crate) bzimage: PathBuf,
    /// The same kernel, unpacked.
    pub(crate) vmlinux: PathBuf,
    /// An initramfs whose init is this program.
    pub(crate) initrd: PathBuf,
    /// The same above the initramfs of the image `tiny`: its programs and its drivers.
    pub(crate) initrd_with_drivers: PathBuf,
}

impl Tiny {
    /// Takes the kernel and the initramfs from the image's disk.
    pub(crate) fn write_to(folder: &Path) -> Tiny {
        let disk =
            std::env::var_os("KILN_TEST_DISK").expect("KILN_TEST_DISK is not set: run this by `make bench`");
        let disk = std::fs::File::open(&disk).expect("the disk of tiny");
        let disk = RawDisk::open(disk, Access::ReadOnly).expect("a raw disk");
        let files = FileTree::open(&Window::whole(Arc::new(disk))).expect("its file system");
        let read = |path| files.read(path, KERNEL_LIMIT).expect("tiny has it");
        let kernel = read("/boot/vmlinuz");
        let elf = match unpack(&kernel) {
            Ok(Unpacked::Vmlinux(elf)) => elf.whole().ok(),
            _ => None,
        };
        let elf = elf.expect("Debian's kernel can be unpacked");
        let archive = initramfs();
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
}

/// An initramfs whose init is this program, and that has nothing else.
pub(crate) fn initramfs() -> Vec<u8> {
    let own = std::fs::read("/proc/self/exe").expect("this program");
    let mut archive = Archive::new(Vec::new(), 0);
    archive.directory("dev").expect("in memory");
    archive.character_device("dev/console", 5, 1).expect("in memory");
    archive.file("init", 0o755, &own).expect("in memory");
    archive.finish().expect("in memory")
}
