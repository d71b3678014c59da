//! The devices by which a guest learns its generation id: where it lies, and that it changed.

use acpi_tables::aml::{
    Device, Interrupt, Method, Name, Notify, Package, Path, ResourceTemplate, Scope, ZERO,
};

use super::super::layout::GENERATION_LINE;
use super::blob::{Blob, Pointer};

/// The blob with the id itself.
pub const ID: &str = "generation id";

/// Stands where the id's address comes. Larger than 16 bits, so that it is encoded in 32.
const ADDRESS: u32 = u32::MAX;
/// What follows the address at the end of [`devices`]: its upper half, the constant zero.
const AFTER_ADDRESS: usize = 1;
/// The notification that the id changed.
const CHANGED: u8 = 0x80;

/// The blob with `id`.
pub(super) fn blob(id: [u8; 16]) -> Blob {
    Blob {
        name: ID,
        bytes: id.to_vec(),
        // The specification wants 8, and that nothing else shares its cache line is as well.
        align: 64,
        pointers: Vec::new(),
        checksums: Vec::new(),
    }
}

/// `\_SB.GED`, the generic event device (ACPI 6.5, 5.6.9), with one event; and `\_SB.VGEN`. The latter
/// ends with the address: see [`pointer`].
pub(super) fn devices() -> Vec<u8> {
    super::bytes_of(&Scope::new(
        Path::new("\\_SB_"),
        vec![
            &Device::new(
                Path::new("GED_"),
                vec![
                    &Name::new(Path::new("_HID"), &"ACPI0013"),
                    &Name::new(
                        Path::new("_CRS"),
                        // Consumed, an edge, active high, not shared.
                        &ResourceTemplate::new(vec![&Interrupt::new(
                            true,
                            true,
                            false,
                            false,
                            GENERATION_LINE,
                        )]),
                    ),
                    &Method::new(
                        Path::new("_EVT"),
                        1,
                        true,
                        vec![&Notify::new(&Path::new("\\_SB_.VGEN"), &CHANGED)],
                    ),
                ],
            ),
            &Device::new(
                Path::new("VGEN"),
                vec![
                    &Name::new(Path::new("_HID"), &"KILN0001"),
                    &Name::new(
                        Path::new("_CID"),
                        &Package::new(vec![&"VM_Gen_Counter", &"VMGENCTR"]),
                    ),
                    &Name::new(Path::new("_DDN"), &"VM_Gen_Counter"),
                    &Name::new(Path::new("ADDR"), &Package::new(vec![&ADDRESS, &ZERO])),
                ],
            ),
        ],
    ))
}

/// The address in a table of `len` bytes that ends with [`devices`].
pub(super) fn pointer(len: usize) -> Pointer {
    Pointer {
        offset: len.saturating_sub(AFTER_ADDRESS + 4),
        size: 4,
        target: ID,
    }
}
