//! Entry by PVH: what the kernel finds at the address in EBX (Xen's
//! `xen/include/public/arch-x86/hvm/start_info.h`).

use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use vm_memory::{ByteValued, Bytes, GuestAddress};

use super::{Initrd, LoadError, Platform};
use crate::arch::x86_64::layout::{BOOT_PAGE, COMMAND_LINE};
use crate::arch::x86_64::registers::Entry;

/// "xEn3".
const MAGIC: u32 = 0x336e_c578;
/// The version with the memory map in it.
const VERSION: u32 = 1;
/// Where the list of modules and the memory map lie, behind the start info.
const MODULES: u64 = BOOT_PAGE + 0x40;
const MAP: u64 = BOOT_PAGE + 0x80;

/// The structures' wrappers, as they go to memory.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
struct StartInfo(hvm_start_info);
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
struct Module(hvm_modlist_entry);
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
struct MapEntry(hvm_memmap_table_entry);

// SAFETY: integers without padding between them (their sizes are the sums of their fields'), valid for
// any bytes.
unsafe impl ByteValued for StartInfo {}
// SAFETY: as above.
unsafe impl ByteValued for Module {}
// SAFETY: as above.
unsafe impl ByteValued for MapEntry {}

/// Writes the start info for a kernel whose PVH entry is `entry`.
pub(super) fn prepare(
    entry: u64,
    initrd: Option<Initrd>,
    platform: &Platform<'_>,
) -> Result<Entry, LoadError> {
    let entries = platform.map.entries();
    for (index, range) in entries.iter().enumerate() {
        let entry = hvm_memmap_table_entry {
            addr: range.start,
            size: range.len,
            type_: range.kind as u32,
            reserved: 0,
        };
        let place = MAP + (index * size_of::<MapEntry>()) as u64;
        platform.memory.write_obj(MapEntry(entry), GuestAddress(place))?;
    }
    if let Some(initrd) = initrd {
        let module = hvm_modlist_entry {
            paddr: initrd.start,
            size: initrd.size,
            ..Default::default()
        };
        platform.memory.write_obj(Module(module), GuestAddress(MODULES))?;
    }
    let start_info = hvm_start_info {
        magic: MAGIC,
        version: VERSION,
        nr_modules: initrd.iter().count() as u32,
        modlist_paddr: MODULES,
        cmdline_paddr: COMMAND_LINE,
        rsdp_paddr: platform.tables,
        memmap_paddr: MAP,
        memmap_entries: entries.len() as u32,
        ..Default::default()
    };
    platform
        .memory
        .write_obj(StartInfo(start_info), GuestAddress(BOOT_PAGE))?;
    Ok(Entry::Pvh {
        entry,
        start_info: BOOT_PAGE,
    })
}
