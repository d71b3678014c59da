//! What firmware is told of the machine: the items and files of [`crate::legacy::fw_cfg`] that SeaBIOS and OVMF read.

use super::acpi::blob::PlaceError;
use super::acpi::loader::GENERATION_AT;
use super::firmware_board::Surroundings;
use super::layout::{COM1, KVM_PAGES, KVM_PAGES_LEN};
use super::memory_map::{MemoryMap, RangeKind};
use crate::legacy::fw_cfg::Directory;
use crate::pci::Slot;

/// Items by their keys in QEMU: bytes of memory, vCPUs now and at most, whether there is a boot menu; and that the
/// timer, line 0, is pin 2 of the I/O APIC.
const MEMORY: u16 = 0x03;
const CPUS: u16 = 0x05;
const MAX_CPUS: u16 = 0x0f;
const BOOT_MENU: u16 = 0x0e;
const TIMER_IS_PIN_2: u16 = 0x8002;

/// How long the boot menu waits for a key, in milliseconds; OVMF heeds it if there is a menu only.
const MENU_WAIT: u16 = 0;
/// How long it takes SeaBIOS to start again where nothing boots: for ever.
const FAIL_WAIT: u32 = u32::MAX;

/// All of it.
pub(super) fn directory(around: &Surroundings<'_>) -> Result<Directory, PlaceError> {
    let (map, cpus) = (around.map, u16::from(around.cpus));
    let mut directory = Directory::new();
    let memory = map.low_end() + map.high_len();
    directory.add_item(MEMORY, memory.to_le_bytes().to_vec());
    for (key, value) in [
        (CPUS, cpus),
        (MAX_CPUS, cpus),
        (BOOT_MENU, 1),
        (TIMER_IS_PIN_2, 1),
    ] {
        directory.add_item(key, value.to_le_bytes().to_vec());
    }
    directory.add_file("etc/e820", ranges(map));
    for (name, bytes) in around.tables.files()? {
        directory.add_file(name, bytes);
    }
    directory.add_writable_file(GENERATION_AT, 8);
    directory.add_file("bootorder", boot_order(around.disks));
    directory.add_file("etc/sercon-port", COM1.to_le_bytes().to_vec());
    directory.add_file("etc/boot-menu-wait", MENU_WAIT.to_le_bytes().to_vec());
    directory.add_file("etc/boot-fail-wait", FAIL_WAIT.to_le_bytes().to_vec());
    Ok(directory)
}

/// The map of memory: what firmware cannot find out by itself, and not what it makes of it.
fn ranges(map: &MemoryMap) -> Vec<u8> {
    let ram = map
        .ram()
        .into_iter()
        .map(|(start, len)| (start, len, RangeKind::Ram));
    let reserved = (KVM_PAGES, KVM_PAGES_LEN, RangeKind::Reserved);
    let mut bytes = Vec::new();
    for (start, len, kind) in ram.chain([reserved]) {
        bytes.extend(start.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend((kind as u32).to_le_bytes());
    }
    bytes
}

/// The disks by their paths (Open Firmware's), one a line.
fn boot_order(disks: &[Slot]) -> Vec<u8> {
    let path = |slot: &Slot| format!("/pci@i0cf8/scsi@{:x}/disk@0,0", slot.number());
    let mut lines = disks.iter().map(path).collect::<Vec<_>>().join("\n").into_bytes();
    lines.push(0);
    lines
}

#[cfg(test)]
mod tests {
    use super::super::layout::HIGH_RAM;
    use super::*;

    #[test]
    fn memory_above_4_gib_is_told_of_as_such() {
        let bytes = ranges(&MemoryMap::new(5 << 30));
        let entry = |index: usize| {
            let entry = &bytes[index * 20..][..20];
            let quad = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
            (quad(0), quad(8), entry[16])
        };
        assert_eq!(bytes.len(), 60);
        assert_eq!(entry(0), (0, 2 << 30, 1));
        assert_eq!(entry(1), (HIGH_RAM, 3 << 30, 1));
        assert_eq!(entry(2), (KVM_PAGES, KVM_PAGES_LEN, 2));
    }

    #[test]
    fn disks_are_named_in_their_order_by_hexadecimal_slots() {
        let slots = [1, 12].map(|number| Slot::new(number).unwrap());
        assert_eq!(
            boot_order(&slots),
            b"/pci@i0cf8/scsi@1/disk@0,0\n/pci@i0cf8/scsi@c/disk@0,0\0"
        );
        assert_eq!(boot_order(&[]), b"\0");
    }
}
