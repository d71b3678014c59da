use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::bus::BusDevice;
use crate::pci::{BarKind, BarWindow, ConfigPorts, ConfigSpace, Ecam, Identity};

/// A function with two BARs that remembers where it is routed and echoes who it is.
struct Probe {
    id: u8,
    config: Mutex<ConfigSpace>,
    routed: Mutex<[Option<u64>; 6]>,
}

impl Probe {
    fn new(id: u8) -> Arc<Self> {
        let identity = Identity {
            vendor: 0x1af4,
            device: id.into(),
            revision: 0,
            class: 0,
            subsystem_vendor: 0,
            subsystem: 0,
        };
        let mut config = ConfigSpace::new(identity);
        config.add_bar(0, BarKind::Memory32, 0x1000);
        config.add_bar(2, BarKind::Memory64, 0x4000);
        Arc::new(Self {
            id,
            config: Mutex::new(config),
            routed: Mutex::default(),
        })
    }
}

impl PciFunction for Probe {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.config.lock().expect("lock").read(offset, data);
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        self.config.lock().expect("lock").write(offset, data);
    }

    fn decoded(&self, index: usize) -> Option<(u64, u64)> {
        let config = self.config.lock().expect("lock");
        config.bar(index).filter(|_| config.memory_enabled())
    }

    fn bar_size(&self, index: usize) -> Option<u64> {
        self.config.lock().expect("lock").bar(index).map(|(_, size)| size)
    }

    fn place_bar(&self, index: usize, address: u64) {
        let mut config = self.config.lock().expect("lock");
        config.place_bar(index, address);
        config.enable();
    }

    fn routed(&self, index: usize, address: Option<u64>) {
        let mut routed = self.routed.lock().expect("lock");
        // Told of every change, and only of changes.
        assert_ne!(routed[index], address);
        routed[index] = address;
    }

    fn bar_read(&self, index: usize, offset: u64, data: &mut [u8]) {
        data.fill(0);
        data[0] = self.id << 4 | index as u8;
        assert!(offset + data.len() as u64 <= if index == 0 { 0x1000 } else { 0x4000 });
    }

    fn bar_write(&self, _index: usize, _offset: u64, _data: &[u8]) {}

    fn reset(&self) {
        self.config.lock().expect("lock").reset();
    }
}

struct Nowhere(Mutex<Vec<Vec<u8>>>);

impl BusDevice for Nowhere {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0x5a);
    }

    fn write(&self, _offset: u64, data: &[u8]) {
        self.0.lock().expect("lock").push(data.to_vec());
    }
}

fn bus() -> (Arc<PciBus>, [Arc<Probe>; 2]) {
    let bus = Arc::new(PciBus::new());
    let probes = [Probe::new(1), Probe::new(2)];
    for (slot, probe) in (1..).zip(&probes) {
        let slot = Slot::new(slot).expect("slot");
        bus.add(Arc::clone(probe) as _, slot).expect("free");
    }
    (bus, probes)
}

fn who(bus: &PciBus, address: u64) -> u8 {
    let mut byte = [0];
    bus.memory_read(address, &mut byte);
    byte[0]
}

fn write_bar(bus: &PciBus, slot: u8, register: u16, value: u32) {
    bus.config_write(Slot::new(slot).expect("slot"), register, &value.to_le_bytes());
}

#[test]
fn functions_are_found_by_both_ways_of_configuration() {
    let (bus, _) = bus();
    let reset = Arc::new(Nowhere(Mutex::default()));
    let ports = ConfigPorts::new(Arc::clone(&bus), Arc::clone(&reset) as _);
    let ecam = Ecam::new(Arc::clone(&bus));
    for (slot, expected) in [
        (0_u32, 0x29c0_8086_u32),
        (1, 0x0001_1af4),
        (2, 0x0002_1af4),
        (3, !0),
        (31, !0),
    ] {
        let mut word = [0; 4];
        ecam.read(u64::from(slot) << 15, &mut word);
        assert_eq!(u32::from_le_bytes(word), expected);
        ports.write(0, &(1 << 31 | slot << 11).to_le_bytes());
        ports.read(4, &mut word);
        assert_eq!(u32::from_le_bytes(word), expected);
        let mut half = [0; 2];
        ports.read(6, &mut half);
        assert_eq!(u16::from_le_bytes(half), (expected >> 16) as u16);
        // Other functions and buses are empty.
        for elsewhere in [1 << 12, 7 << 12, 1 << 20, 255 << 20] {
            ecam.read(u64::from(slot) << 15 | elsewhere, &mut word);
            assert_eq!(word, [0xff; 4]);
        }
    }
    // The reset control register lies between the two.
    ports.write(1, &[6]);
    let mut byte = [0];
    ports.read(1, &mut byte);
    assert_eq!(
        (byte, reset.0.lock().expect("lock").clone()),
        ([0x5a], vec![vec![6]])
    );
    let mut word = [0; 4];
    ports.read(0, &mut word);
    assert_eq!(word, (1_u32 << 31 | 31 << 11).to_le_bytes());
}

#[test]
fn hazard_configuration_accesses_of_odd_size_or_place_do_nothing() {
    let (bus, _) = bus();
    let ports = ConfigPorts::new(Arc::clone(&bus), Arc::new(Nowhere(Mutex::default())));
    let ecam = Ecam::new(Arc::clone(&bus));
    ports.write(0, &(1_u32 << 31 | 1 << 11).to_le_bytes());
    for offset in 0..0x40_u64 {
        for len in 1..=8_usize {
            let mut data = vec![0; len];
            let valid = matches!(len, 1 | 2 | 4) && offset.is_multiple_of(len as u64);
            ecam.read(1 << 15 | offset, &mut data);
            if !valid {
                assert!(data.iter().all(|byte| *byte == 0xff), "{offset} {len}");
            }
            ecam.write(1 << 15 | offset, &data);
            if offset < 8 && !(offset, len).eq(&(0, 4)) {
                ports.read(offset, &mut data);
                ports.write(offset, &data);
            }
        }
    }
    for offset in [0xff9, 0xffc, 0xffff, (256 << 20) - 1, u64::MAX] {
        let mut data = [0; 8];
        ecam.read(offset, &mut data);
        ecam.write(offset, &data);
    }
}

#[test]
fn bars_move_and_the_old_place_is_empty() {
    let (bus, probes) = bus();
    let first = probes[0].routed.lock().expect("lock")[0].expect("placed");
    assert_eq!((first, who(&bus, first)), (WINDOW_BASE, 0x10));
    write_bar(&bus, 1, 0x10, 0xd000_0000);
    assert_eq!((who(&bus, first), who(&bus, 0xd000_0fff)), (0xff, 0x10));
    let mut word = [0; 4];
    bus.memory_read(0xd000_0ffe, &mut word);
    assert_eq!(word, [0xff; 4], "an access that leaves the BAR");
    // Off and on again.
    bus.config_write(Slot::new(1).expect("slot"), 4, &[0, 0]);
    assert_eq!(
        (who(&bus, 0xd000_0000), probes[0].routed.lock().expect("lock")[0]),
        (0xff, None)
    );
    bus.config_write(Slot::new(1).expect("slot"), 4, &[2, 0]);
    assert_eq!(who(&bus, 0xd000_0000), 0x10);
    bus.reset().expect("as at power-on");
    assert_eq!((who(&bus, first), who(&bus, 0xd000_0000)), (0x10, 0xff));
}

#[test]
fn hazard_a_bar_over_ram_or_beyond_the_window_is_routed_nowhere() {
    let (bus, probes) = bus();
    for address in [
        0,
        0x10_0000,
        0xaffff000,
        0xb000_0000,
        0xbfff_f000,
        0xfec0_0000,
        0xfee0_0000,
        0xffff_f000,
    ] {
        write_bar(&bus, 1, 0x10, address);
        assert_eq!(probes[0].routed.lock().expect("lock")[0], None, "{address:#x}");
        assert_eq!(who(&bus, address.into()), 0xff);
    }
    write_bar(&bus, 1, 0x1c, 1);
    assert_eq!(probes[0].routed.lock().expect("lock")[2], None, "above 4 GiB");
    write_bar(&bus, 1, 0x1c, 0xffff_ffff);
    write_bar(&bus, 1, 0x18, 0xffff_ffff);
    assert_eq!(probes[0].routed.lock().expect("lock")[2], None);
}

#[test]
fn a_slot_takes_one_function() {
    let (bus, _) = bus();
    let slot = Slot::new(1).expect("slot");
    assert!(matches!(
        bus.add(Probe::new(3), slot),
        Err(PciError::SlotTaken(1))
    ));
    for _ in 3..32 {
        bus.add(Probe::new(3), bus.free_slot().expect("a slot"))
            .expect("free");
    }
    assert!(matches!(bus.free_slot(), Err(PciError::NoSlot)));
    assert!(Slot::new(32).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is written to command registers and BARs, in whatever order: what answers at an address
    /// is what the registers say is there, and each function knows where it is routed.
    #[test]
    fn hazard_registers_and_routes_never_disagree(
        writes in prop::collection::vec((1u8..3, 0u8..4, 0u32..12), 1..24),
    ) {
        let (bus, probes) = bus();
        let window = BarWindow::new(Arc::clone(&bus));
        for (slot, register, value) in writes {
            let at = Slot::new(slot).expect("slot");
            match register {
                0 => bus.config_write(at, 4, &[(value as u8 & 1) << 1, 0]),
                1 => write_bar(&bus, slot, 0x10, 0xbfff_e000 + value * 0x1000),
                2 => write_bar(&bus, slot, 0x18, 0xbfff_c000 + value * 0x1000),
                _ => write_bar(&bus, slot, 0x1c, value / 6),
            }
            let mut seen = Vec::new();
            for probe in &probes {
                for bar in [0, 2] {
                    let routed = probe.routed.lock().expect("lock")[bar];
                    let Some(start) = routed else { continue };
                    let (decoded, size) = probe.decoded(bar).expect("routed only if decoded");
                    prop_assert_eq!(start, decoded);
                    prop_assert!(start >= WINDOW_BASE);
                    let mut byte = [0];
                    window.read(start - WINDOW_BASE, &mut byte);
                    prop_assert_eq!(byte[0], probe.id << 4 | bar as u8);
                    seen.push((start, start + size));
                }
            }
            seen.sort_unstable();
            prop_assert!(seen.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{:x?}", seen);
        }
    }
}

#[test]
fn a_restored_bus_goes_on_with_its_address_register_and_its_bridge() {
    let ports = |bus: &Arc<PciBus>| ConfigPorts::new(Arc::clone(bus), Arc::new(Nowhere(Mutex::default())));
    let saved = Arc::new(PciBus::new());
    // The bridge's PAM registers: of the guest's bits only those that exist are kept.
    ports(&saved).write(0, &0x8000_0090_u32.to_le_bytes());
    ports(&saved).write(4, &[0xff]);
    let fresh = Arc::new(PciBus::new());
    fresh.restore(&saved.state());
    assert_eq!(fresh.state(), saved.state());
    let mut byte = [0];
    ports(&fresh).read(4, &mut byte);
    assert_eq!(byte, [0x33]);
    let mut ecam = [0; 8];
    fresh.config_read(Slot::new(0).expect("slot 0"), 0x60, &mut ecam);
    assert_eq!(u64::from_le_bytes(ecam), crate::pci::ECAM_BASE | 1);
}

#[test]
fn what_is_inserted_is_routed_once_the_guest_has_placed_it_and_what_is_removed_nowhere() {
    let (bus, [first, _]) = bus();
    let late = Probe::new(7);
    let slot = Slot::new(9).expect("slot");
    bus.insert(Arc::clone(&late) as _, slot).expect("free");
    assert!(matches!(
        bus.insert(Probe::new(8), slot),
        Err(PciError::SlotTaken(9))
    ));
    assert_eq!(*late.routed.lock().expect("lock"), [None; 6]);
    // As the operating system does it: an address, then decoding. Where the first one is, it is not routed.
    let place = (WINDOW_BASE + 0x100_0000) as u32;
    write_bar(&bus, 9, 0x10, place);
    bus.config_write(slot, 4, &[2, 0]);
    assert_eq!(who(&bus, place.into()), 0x70);
    let taken = first.decoded(0).expect("decoded").0;
    write_bar(&bus, 9, 0x10, taken as u32);
    assert_eq!(who(&bus, taken), 0x10);
    bus.remove(Slot::new(1).expect("slot"));
    assert_eq!(*first.routed.lock().expect("lock"), [None; 6], "it is told");
    assert_eq!(who(&bus, taken), 0x70, "the place is free");
    let mut identity = [0; 4];
    bus.config_read(Slot::new(1).expect("slot"), 0, &mut identity);
    assert_eq!(identity, [0xff; 4]);
    bus.remove(Slot::new(1).expect("slot"));
    bus.reset().expect("as at power-on");
    assert_eq!(who(&bus, late.decoded(0).expect("placed").0), 0x70);
}
