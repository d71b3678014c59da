//! Boot menus and kernels.

use std::sync::LazyLock;

use kiln_vmm::arch::native::MemoryMap;
use kiln_vmm::arch::native::kernel::load;
use kiln_vmm::boot::kernel::{Kernel, KernelSet, Platform};
use kiln_vmm::boot::payload;
use kiln_vmm::memory::{self, GuestMemory};

pub use kiln_vmm::boot::pvgrub::fuzzing::{extlinux, grub_cfg, grubenv, loader_entry, menu_lst, unified};

/// RAM of the guest that kernels are loaded into.
const RAM: u64 = 64 << 20;

/// A kernel of any kind, unpacked and loaded. Whether it can be entered.
pub fn kernel(input: &[u8]) -> bool {
    static MEMORY: LazyLock<(GuestMemory, MemoryMap)> = LazyLock::new(|| {
        let map = MemoryMap::new(RAM);
        (memory::map(&map.ram()).expect("64 MiB can be had"), map)
    });
    let _ = payload::KernelKind::of(input);
    let (memory, map) = &*MEMORY;
    let set = KernelSet {
        kernel: Kernel::Bytes(input),
        initrd: &[0x30; 5000],
        cmdline: "root=/dev/vda console=ttyS0",
    };
    let tables = 0xe_0000;
    load(&set, &Platform { memory, map, tables }).is_ok()
}
