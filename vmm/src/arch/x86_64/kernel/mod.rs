//! Loading a Linux kernel: kernel, initramfs, command line and what the kernel is told of the machine,
//! placed in guest memory.
//!
//! The kernel is entered by PVH where it is unpacked and has the note for it; else a bzImage is entered
//! as it is by the 64-bit Linux boot protocol, and an ELF file likewise at its entry point. So is a bzImage from before
//! Linux 5.0, whose PVH entry is for Xen alone: it makes hypercalls, and reads no memory map. One without a 64-bit entry,
//! of 32 bits or from before Linux 3.8, is entered by the 32-bit protocol.
//!
//! ```text
//!  0        0x7000        0x20000         0xe0000   1 MiB        16 MiB            end of low RAM
//!  | tables | boot page | command line | ... | ACPI | ...        | kernel |   ...   | initrd |
//! ```

mod elf;
mod linux;
mod pvh;

use vm_memory::{Bytes, GuestAddress};

use super::layout::{BOOT_PAGE, COMMAND_LINE, COMMAND_LINE_ROOM, EXTENDED};
use super::registers::Entry;
use crate::boot::kernel::{Kernel, KernelSet, LoadError, Loaded, Platform};
use crate::boot::payload::{self, BzImage, KernelKind, Unpacked, Vmlinux};

/// The command line that x86's kernels take (`COMMAND_LINE_SIZE`, with its closing 0), where the
/// kernel does not say.
const COMMAND_LINE_SIZE: usize = 2048;

/// How high an initramfs may lie where the kernel does not say (`initrd_addr_max` of protocol 2.03).
const INITRD_LIMIT: u64 = 0x8000_0000;

/// Loads `set` into `platform`.
pub fn load(set: &KernelSet<'_>, platform: &Platform<'_>) -> Result<Loaded, LoadError> {
    let bzimage = match set.kernel {
        Kernel::Bytes(file) if KernelKind::of(file) == KernelKind::BzImage => {
            Some((BzImage::parse(file)?, file))
        }
        _ => None,
    };
    let (cmdline_limit, initrd_limit) =
        bzimage
            .as_ref()
            .map_or((COMMAND_LINE_SIZE - 1, INITRD_LIMIT), |(image, _)| {
                (
                    image.cmdline_limit() as usize,
                    u64::from(image.initrd_limit()) + 1,
                )
            });
    write_command_line(set.cmdline, cmdline_limit, platform)?;
    let place = |kernel_end| place_initrd(set.initrd, kernel_end, initrd_limit, platform);
    let unpacked = match set.kernel {
        Kernel::Elf { file, path } => Unpacked::Vmlinux(Vmlinux::of_file(file, path)?),
        Kernel::Bytes(file) => payload::unpack(file)?,
    };
    let reason = match unpacked {
        Unpacked::Vmlinux(file) => {
            let packing = file
                .compression()
                .map_or_else(String::new, |packing| format!(", unpacked from {packing}"));
            let loaded = elf::Image::parse(file).and_then(|image| image.load(platform));
            match loaded {
                Ok(elf::Loaded {
                    end,
                    pvh_entry: Some(entry),
                    ..
                }) => {
                    let entry = pvh::prepare(entry, place(end)?, platform)?;
                    let how = format!("PVH{packing}");
                    return Ok(Loaded { entry, how });
                }
                Ok(elf::Loaded { end, entry, .. }) if bzimage.is_none() => {
                    linux::write_zero_page(None, place(end)?, platform)?;
                    let zero_page = BOOT_PAGE;
                    let entry = Entry::Linux64 { entry, zero_page };
                    let how = format!("64-bit entry of an ELF file{packing}");
                    return Ok(Loaded { entry, how });
                }
                // What of it was loaded lies in RAM of which the kernel makes no use before it has unpacked itself there.
                Ok(_) => "it has no PVH note".into(),
                Err(LoadError::Elf(why)) if bzimage.is_some() => format!("of its vmlinux, {why}"),
                Err(refusal) => return Err(refusal),
            }
        }
        Unpacked::AsIs { reason } => reason,
    };
    let Some((image, file)) = bzimage else {
        return Err(LoadError::NoEntry(
            "it is no bzImage and could not be unpacked".into(),
        ));
    };
    let (entry, end) = linux::load_bzimage(&image, platform)?;
    linux::write_zero_page(Some(file), place(end)?, platform)?;
    let bits = if image.has_64_bit_entry() { 64 } else { 32 };
    Ok(Loaded {
        entry,
        how: format!("{bits}-bit Linux boot protocol ({reason})"),
    })
}

/// Where an initramfs lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Initrd {
    start: u64,
    size: u64,
}

fn write_command_line(cmdline: &str, limit: usize, platform: &Platform<'_>) -> Result<(), LoadError> {
    let limit = limit.min(COMMAND_LINE_ROOM as usize - 1);
    if cmdline.len() > limit {
        return Err(LoadError::CommandLine {
            len: cmdline.len(),
            limit,
        });
    }
    platform
        .memory
        .write_slice(cmdline.as_bytes(), GuestAddress(COMMAND_LINE))?;
    platform
        .memory
        .write_slice(&[0], GuestAddress(COMMAND_LINE + cmdline.len() as u64))?;
    Ok(())
}

/// Puts the initramfs as high as it may lie, on a page of its own.
fn place_initrd(
    initrd: &[u8],
    kernel_end: u64,
    limit: u64,
    platform: &Platform<'_>,
) -> Result<Option<Initrd>, LoadError> {
    if initrd.is_empty() {
        return Ok(None);
    }
    let (size, limit) = (initrd.len() as u64, limit.min(platform.map.low_end()));
    let start = limit.checked_sub(size).map(|start| start & !0xfff);
    match start.filter(|&start| start >= kernel_end.max(EXTENDED)) {
        Some(start) => {
            platform.memory.write_slice(initrd, GuestAddress(start))?;
            Ok(Some(Initrd { start, size }))
        }
        None => Err(LoadError::InitrdSize {
            size,
            kernel_end,
            limit,
        }),
    }
}

/// Checks that `start..start + len` is RAM that a kernel may lie in.
fn check_room(start: u64, len: u64, platform: &Platform<'_>) -> Result<u64, LoadError> {
    let (low, high) = (EXTENDED, platform.map.low_end());
    let end = start.saturating_add(len);
    if start < low || end > high {
        return Err(LoadError::NoRoom {
            start,
            end,
            low,
            high,
        });
    }
    Ok(end)
}

#[cfg(test)]
mod tests;
