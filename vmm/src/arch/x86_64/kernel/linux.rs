//! Entry by the 64-bit or the 32-bit Linux boot protocol (`Documentation/arch/x86/boot.rst`): the zero page, and a
//! bzImage that unpacks itself.

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use vm_memory::{ByteValued, Bytes, GuestAddress};

use super::{Initrd, LoadError, Platform, check_room};
use crate::arch::x86_64::layout::{BOOT_PAGE, COMMAND_LINE};
use crate::arch::x86_64::registers::Entry;
use crate::boot::payload::BzImage;

/// Where the header begins in a bzImage.
const HEADER: usize = 0x1f1;
/// Where the byte is that says where it ends: 0x202 and so much.
const HEADER_LENGTH: usize = 0x201;
/// `type_of_loader`: none of those with a number.
const LOADER: u8 = 0xff;
/// `loadflags`: the protected-mode code is at 1 MiB or above.
const LOADED_HIGH: u8 = 1;
/// From the protected-mode code to the 64-bit entry.
const ENTRY_64: u64 = 0x200;
/// "HdrS", and the boot sector's flag.
const MAGIC: u32 = 0x5372_6448;
const BOOT_FLAG: u16 = 0xaa55;

/// Copies the protected-mode code of `image` to where it likes to be; returns how it is entered there, in 64-bit mode if
/// it can be, and the address after the memory that it needs.
pub(super) fn load_bzimage(image: &BzImage<'_>, platform: &Platform<'_>) -> Result<(Entry, u64), LoadError> {
    let (start, code) = (image.load_address(), image.protected_mode());
    let end = check_room(start, image.memory_needed(), platform)?;
    platform.memory.write_slice(code, GuestAddress(start))?;
    let zero_page = BOOT_PAGE;
    let entry = if image.has_64_bit_entry() {
        let entry = start + ENTRY_64;
        Entry::Linux64 { entry, zero_page }
    } else {
        // All low RAM is below 4 GiB.
        let entry = start;
        Entry::Linux32 { entry, zero_page }
    };
    Ok((entry, end))
}

/// Writes the zero page; `bzimage` is the file that the kernel's header is taken from, if it has one.
pub(super) fn write_zero_page(
    bzimage: Option<&[u8]>,
    initrd: Option<Initrd>,
    platform: &Platform<'_>,
) -> Result<(), LoadError> {
    let mut params = boot_params {
        hdr: bzimage.map(header_of).unwrap_or_default(),
        ..Default::default()
    };
    params.hdr.boot_flag = BOOT_FLAG;
    params.hdr.header = MAGIC;
    params.hdr.type_of_loader = LOADER;
    params.hdr.loadflags |= LOADED_HIGH;
    params.hdr.cmd_line_ptr = COMMAND_LINE as u32;
    if let Some(initrd) = initrd {
        // It lies below 4 GiB, as all low RAM does.
        (params.hdr.ramdisk_image, params.hdr.ramdisk_size) = (initrd.start as u32, initrd.size as u32);
    }
    params.acpi_rsdp_addr = platform.tables;
    let ranges = platform.map.entries();
    let mut table = params.e820_table;
    for (place, range) in table.iter_mut().zip(&ranges) {
        *place = boot_e820_entry {
            addr: range.start,
            size: range.len,
            r#type: range.kind as u32,
        };
    }
    params.e820_table = table;
    params.e820_entries = ranges.len() as u8;
    platform
        .memory
        .write_slice(params.as_slice(), GuestAddress(BOOT_PAGE))?;
    Ok(())
}

/// The header of a bzImage, as far as it says that it goes; what is behind it is code.
fn header_of(file: &[u8]) -> setup_header {
    let end = file
        .get(HEADER_LENGTH)
        .map_or(HEADER, |len| 0x202 + usize::from(*len));
    let mut header = setup_header::default();
    let bytes = file.get(HEADER..end).unwrap_or_default();
    for (to, from) in header.as_mut_slice().iter_mut().zip(bytes) {
        *to = *from;
    }
    header
}
