//! The Multiple APIC Description Table (5.2.12).

use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};

use super::super::layout::{IO_APIC, LOCAL_APIC, SCI_LINE};
use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, bytes_of};

/// Header, address of the local APICs, flags: then come the structures.
const FLAGS: usize = 40;
/// Flag: there are PICs, too.
const PCAT_COMPAT: u8 = 1;

/// The table for `cpus` processors, whose APIC ids are 0 and up.
pub(super) fn bytes(cpus: u8) -> Vec<u8> {
    let controller = LocalInterruptController::Address(LOCAL_APIC as u32);
    let mut madt = MADT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION, controller);
    for cpu in 0..cpus {
        madt.add_structure(ProcessorLocalApic::new(cpu, cpu, EnabledStatus::Enabled));
    }
    // Its id is one that no processor has; with 255 processors' ids taken, 0 is as good.
    madt.add_structure(IoApic::new(0, IO_APIC as u32, 0));
    let mut bytes = bytes_of(&madt);
    // The timer is line 0 and reaches pin 2; the system control interrupt is level-triggered.
    bytes.extend(source_override(0, 2, 0));
    bytes.extend(source_override(SCI_LINE as u8, SCI_LINE, ACTIVE_HIGH | LEVEL));
    bytes.extend(local_nmi_all());
    let len = bytes.len() as u32;
    for (place, byte) in bytes.iter_mut().skip(4).zip(len.to_le_bytes()) {
        *place = byte;
    }
    if let Some(flags) = bytes.get_mut(FLAGS) {
        *flags = PCAT_COMPAT;
    }
    bytes
}

/// Polarity and trigger of an interrupt (table 5.26).
const ACTIVE_HIGH: u16 = 0b01;
const LEVEL: u16 = 0b11 << 2;

/// Interrupt Source Override Structure (5.2.12.5).
fn source_override(source: u8, gsi: u32, flags: u16) -> Vec<u8> {
    let mut bytes = vec![2, 10, 0, source];
    bytes.extend(gsi.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}

/// Local APIC NMI Structure (5.2.12.7): input 1 of every processor.
fn local_nmi_all() -> [u8; 6] {
    [4, 6, 0xff, 0, 0, 1]
}
