//! The Differentiated System Description Table (5.2.11.1): what cannot be discovered. The PCI root, the
//! devices with fixed ports, and how to power off.
//!
//! PCI devices have no interrupt pins here, only messages: so there is no `_PRT`, and no device's
//! configuration space names a pin.

use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package, Path,
    ResourceTemplate, Scope, ZERO,
};
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, aml};

use super::super::layout::{
    BARS, BARS_LEN, COM1, COM1_LINE, ECAM, ECAM_LEN, HOTPLUG, PCI_CONFIG, PM, PVPANIC, RTC, RTC_LINE,
};
use super::blob::Blob;
use super::{LAST_BUS, OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use super::{generation, hotplug};
use crate::legacy::power_management::S5;
use crate::pci::{SlotSet, hotplug as registers};

/// The table, which points to the generation id.
pub(super) fn blob(pluggable: SlotSet) -> Blob {
    let bytes = bytes(pluggable);
    let pointer = generation::pointer(bytes.len());
    let mut blob = Blob::table("DSDT", bytes);
    blob.pointers.push(pointer);
    blob
}

fn bytes(pluggable: SlotSet) -> Vec<u8> {
    let mut dsdt = Sdt::new(*b"DSDT", 36, 6, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    for object in [
        pci_root(),
        hotplug::slots(pluggable),
        hotplug::event(),
        fixed_devices(),
        power_off(),
        generation::devices(),
    ] {
        dsdt.append_slice(&object);
    }
    dsdt.as_slice().to_vec()
}

fn encode(object: &dyn Aml) -> Vec<u8> {
    super::bytes_of(object)
}

/// `\_SB.PCI0`: bus 0, the ports but for the configuration mechanism's own, the window for BARS.
fn pci_root() -> Vec<u8> {
    let config_end = PCI_CONFIG + 8;
    encode(&Scope::new(
        Path::new("\\_SB_"),
        vec![&Device::new(
            Path::new("PCI0"),
            vec![
                &Name::new(Path::new("_HID"), &EISAName::new("PNP0A08")),
                &Name::new(Path::new("_CID"), &EISAName::new("PNP0A03")),
                &Name::new(Path::new("_SEG"), &ZERO),
                &Name::new(Path::new("_BBN"), &ZERO),
                &Name::new(Path::new("_UID"), &ZERO),
                &Name::new(
                    Path::new("_CRS"),
                    &ResourceTemplate::new(vec![
                        &AddressSpace::new_bus_number(0u16, LAST_BUS.into()),
                        &IO::new(PCI_CONFIG, PCI_CONFIG, 1, 8),
                        &AddressSpace::new_io(0u16, PCI_CONFIG - 1, None),
                        &AddressSpace::new_io(config_end, 0xffffu16, None),
                        &AddressSpace::new_memory(
                            AddressSpaceCacheable::NotCacheable,
                            true,
                            BARS as u32,
                            (BARS + BARS_LEN - 1) as u32,
                            None,
                        ),
                    ]),
                ),
            ],
        )],
    ))
}

/// Serial port, clock, `pvpanic`, and the motherboard's claim on ECAM, power management and hot-plug.
fn fixed_devices() -> Vec<u8> {
    let line = |number| Interrupt::new(true, true, false, false, number);
    let (serial_line, clock_line) = (line(COM1_LINE), line(RTC_LINE));
    encode(&Scope::new(
        Path::new("\\_SB_"),
        vec![
            &Device::new(
                Path::new("COM1"),
                vec![
                    &Name::new(Path::new("_HID"), &EISAName::new("PNP0501")),
                    &Name::new(Path::new("_UID"), &ZERO),
                    &Name::new(
                        Path::new("_CRS"),
                        &ResourceTemplate::new(vec![&IO::new(COM1, COM1, 1, 8), &serial_line]),
                    ),
                ],
            ),
            &Device::new(
                Path::new("RTC_"),
                vec![
                    &Name::new(Path::new("_HID"), &EISAName::new("PNP0B00")),
                    &Name::new(
                        Path::new("_CRS"),
                        &ResourceTemplate::new(vec![&IO::new(RTC, RTC, 1, 2), &clock_line]),
                    ),
                ],
            ),
            &Device::new(
                Path::new("PEVT"),
                vec![
                    &Name::new(Path::new("_HID"), &"QEMU0001"),
                    // Present, enabled, shown, working.
                    &Name::new(Path::new("_STA"), &0x0fu8),
                    &Name::new(
                        Path::new("_CRS"),
                        &ResourceTemplate::new(vec![&IO::new(PVPANIC, PVPANIC, 1, 1)]),
                    ),
                ],
            ),
            &Device::new(
                Path::new("MBRD"),
                vec![
                    &Name::new(Path::new("_HID"), &EISAName::new("PNP0C02")),
                    &Name::new(
                        Path::new("_CRS"),
                        &ResourceTemplate::new(vec![
                            &Memory32Fixed::new(true, ECAM as u32, ECAM_LEN as u32),
                            &IO::new(PM, PM, 1, 128),
                            &IO::new(HOTPLUG, HOTPLUG, 1, registers::LEN as u8),
                        ]),
                    ),
                ],
            ),
        ],
    ))
}

/// `\_S5`: what to write to the control register to power off.
fn power_off() -> Vec<u8> {
    encode(&Name::new(
        Path::new("\\_S5_"),
        &Package::new(vec![&S5, &S5, &aml::ZERO, &aml::ZERO]),
    ))
}
