//! Hot-plug of PCI slots: a device for each slot into which something can be put while the guest runs, or out of which
//! taken, and the general event by which it learns of that (ACPI 6.5, 5.6.6 and 6.3).
//!
//! ```text
//!  general event ─> \_GPE._E01 ─> \_SB.PCI0.PCNT: reads what was filled and what is asked for
//!                                    └─> Notify (slot, 1: look)   Notify (slot, 3: let go)
//!  the kernel has let go ─> slot._EJ0 ─> the slot's bit to the eject register
//! ```
//!
//! Linux' `acpiphp` takes a device with `_ADR`, `_SUN` and `_EJ0` below a PCI root for a slot.

use acpi_tables::aml::{
    And, Device, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, Local, Method,
    MethodCall, Name, Notify, OpRegion, OpRegionSpace, Path, Scope, Store, ZERO,
};
use acpi_tables::{Aml, AmlSink};

use super::super::layout::HOTPLUG;
use super::bytes_of;
use crate::legacy::power_management::HOTPLUG_EVENT;
use crate::pci::{Slot, SlotSet, hotplug};

/// Notification: something may have come (5.6.6, table 5.170: device check).
const LOOK: u8 = 1;
/// Notification: the guest is asked to let go (eject request).
const LET_GO: u8 = 3;

/// An object that is encoded already.
struct Encoded(Vec<u8>);

impl Aml for Encoded {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// In `\_SB.PCI0`: the registers, the method that looks at them, and a device for each slot.
pub(super) fn slots(pluggable: SlotSet) -> Vec<u8> {
    let registers = [
        registers("HPRD", hotplug::INSERTED, &[*b"PCIU", *b"PCID"]),
        registers("HPEJ", hotplug::EJECT, &[*b"PCEJ"]),
    ];
    let devices = pluggable.iter().map(device);
    let objects: Vec<Encoded> = registers
        .into_iter()
        .chain([look(pluggable)])
        .chain(devices)
        .map(Encoded)
        .collect();
    let children = objects.iter().map(|object| object as &dyn Aml).collect();
    bytes_of(&Scope::new(Path::new("\\_SB_.PCI0"), children))
}

/// `\_GPE`: the method of the general event. It is an edge: the kernel clears the status first, so that no news is
/// missed while the method runs.
pub(super) fn event() -> Vec<u8> {
    let look = MethodCall::new(Path::new("\\_SB_.PCI0.PCNT"), vec![]);
    let name = format!("_E{HOTPLUG_EVENT:02X}");
    bytes_of(&Scope::new(
        Path::new("\\_GPE"),
        vec![&Method::new(Path::new(&name), 0, true, vec![&look])],
    ))
}

/// A region of registers of 32 bits each, from `offset` on.
fn registers(region: &str, offset: u64, names: &[[u8; 4]]) -> Vec<u8> {
    let (first, len) = (HOTPLUG + offset as u16, 4 * names.len() as u8);
    let mut bytes = bytes_of(&OpRegion::new(
        Path::new(region),
        OpRegionSpace::SystemIO,
        &first,
        &len,
    ));
    bytes.extend(bytes_of(&Field::new(
        Path::new(region),
        FieldAccessType::DWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        names.iter().map(|name| FieldEntry::Named(*name, 32)).collect(),
    )));
    bytes
}

/// `PCNT`: tells the kernel of each slot that has news.
fn look(pluggable: SlotSet) -> Vec<u8> {
    let (inserted, asked) = (Path::new("PCIU"), Path::new("PCID"));
    let (came, goes) = (Local(0), Local(1));
    let told: Vec<Encoded> = pluggable
        .iter()
        .flat_map(|slot| [tell(slot, &came, LOOK), tell(slot, &goes, LET_GO)])
        .map(Encoded)
        .collect();
    let (read_inserted, read_asked) = (Store::new(&came, &inserted), Store::new(&goes, &asked));
    let mut steps: Vec<&dyn Aml> = vec![&read_inserted, &read_asked];
    steps.extend(told.iter().map(|step| step as &dyn Aml));
    bytes_of(&Method::new(Path::new("PCNT"), 0, true, steps))
}

fn tell(slot: Slot, news: &Local, what: u8) -> Vec<u8> {
    let (mask, device) = (mask(slot), Path::new(&name(slot)));
    bytes_of(&If::new(
        &And::new(&ZERO, news, &mask),
        vec![&Notify::new(&device, &what)],
    ))
}

/// The slot: function 0 of a device, its number for people, and how the kernel lets go of what is in it.
fn device(slot: Slot) -> Vec<u8> {
    let (number, mask) = (slot.number(), mask(slot));
    bytes_of(&Device::new(
        Path::new(&name(slot)),
        vec![
            &Name::new(Path::new("_ADR"), &(u32::from(number) << 16)),
            &Name::new(Path::new("_SUN"), &number),
            &Method::new(
                Path::new("_EJ0"),
                1,
                true,
                vec![&Store::new(&Path::new("PCEJ"), &mask)],
            ),
        ],
    ))
}

fn name(slot: Slot) -> String {
    format!("S{:03}", slot.number())
}

fn mask(slot: Slot) -> u32 {
    [slot].into_iter().collect::<SlotSet>().bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(bytes: &[u8], part: &[u8]) -> usize {
        bytes.windows(part.len()).filter(|window| *window == part).count()
    }

    #[test]
    fn every_slot_has_a_device_that_is_told_of_and_lets_go_and_no_other_has() {
        let pluggable = SlotSet::of_bits(1 << 4 | 1 << 30);
        let bytes = slots(pluggable);
        // Name (_ADR, 0x00040000), Name (_SUN, 4); Name (_ADR, 0x001E0000), Name (_SUN, 30).
        assert_eq!(count(&bytes, b"\x08_ADR\x0c\x00\x00\x04\x00\x08_SUN\x0a\x04"), 1);
        assert_eq!(count(&bytes, b"\x08_ADR\x0c\x00\x00\x1e\x00\x08_SUN\x0a\x1e"), 1);
        // Store (0x10, PCEJ); Store (0x40000000, PCEJ).
        assert_eq!(count(&bytes, b"\x70\x0a\x10PCEJ"), 1);
        assert_eq!(count(&bytes, b"\x70\x0c\x00\x00\x00\x40PCEJ"), 1);
        // Notify (S004, 1); Notify (S004, 3).
        assert_eq!(
            (count(&bytes, b"\x86S004\x01"), count(&bytes, b"\x86S004\x0a\x03")),
            (1, 1)
        );
        for nothing in ["_ADR", "_SUN", "_EJ0"] {
            assert_eq!(count(&bytes, nothing.as_bytes()), 2, "{nothing}");
        }
        assert_eq!(count(&slots(SlotSet::default()), b"_ADR"), 0);
    }

    #[test]
    fn the_event_has_the_registers_looked_at() {
        let bytes = event();
        assert_eq!(count(&bytes, b"_GPE"), 1);
        assert_eq!(count(&bytes, b"_E01\x08\\\x2f\x03_SB_PCI0PCNT"), 1, "{bytes:x?}");
    }
}
