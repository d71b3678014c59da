//! What a guest reads and writes of PCI: configuration by both ways, and the registers that its BARs lead to.
//!
//! ```text
//!  input: { way: u8, size: u8, place: u32 le, value: u64 le } ...
//! ```

use std::cell::OnceCell;
use std::sync::Arc;

use kiln_vmm::bus::BusDevice;
use kiln_vmm::pci::{BarWindow, ConfigPorts, ECAM_BASE, Ecam, Slot, WINDOW_BASE};

use crate::saved::Machine;

/// The first of the configuration's ports.
const PORTS: u64 = 0xcf8;
/// Bytes of an access in an input.
const ACCESS: usize = 14;
/// Accesses that are made of one input.
const MOST: usize = 256;

/// The device behind port 0xCF9.
struct NoReset;

impl BusDevice for NoReset {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, _: u64, _: &[u8]) {}
}

/// A machine, and the three ways in which a guest reaches its bus.
struct Ways {
    machine: Machine,
    ecam: Ecam,
    ports: ConfigPorts,
    window: BarWindow,
}

impl Ways {
    fn new() -> Ways {
        let machine = Machine::new();
        let pci = || Arc::clone(&machine.pci);
        Ways {
            ecam: Ecam::new(pci()),
            ports: ConfigPorts::new(pci(), Arc::new(NoReset)),
            window: BarWindow::new(pci()),
            machine,
        }
    }

    fn access(&self, way: u8, size: u8, place: u32, value: u64) {
        let len = [1, 2, 4, 8, 3, 5][usize::from(size % 6)];
        let mut data = value.to_le_bytes()[..len].to_vec();
        // Mostly where something is: of configuration the first four slots, of the window its beginning.
        let (device, at): (&dyn BusDevice, u64) = match way % 6 / 2 {
            0 => (
                &self.ecam,
                u64::from(place & if way & 0x80 == 0 { 0x1_ffff } else { 0x0fff_ffff }),
            ),
            1 => (&self.ports, u64::from(place & 7)),
            _ => (
                &self.window,
                u64::from(place & if way & 0x80 == 0 { 0x1_ffff } else { 0x3fff_ffff }),
            ),
        };
        if way & 1 == 0 {
            device.read(at, &mut data);
        } else {
            device.write(at, &data);
        }
    }

    /// The BARs as the guest reads them.
    fn bars(&self) -> Vec<u8> {
        let mut bars = Vec::new();
        for number in 0..4 {
            let slot = Slot::new(number).expect("below 32");
            for register in (0x10..0x28).step_by(4) {
                let mut data = [0; 4];
                self.machine.pci.config_read(slot, register, &mut data);
                bars.extend(data);
            }
        }
        bars
    }
}

thread_local! {
    /// Made once: its threads are what would cost most.
    static WAYS: OnceCell<Ways> = const { OnceCell::new() };
}

/// A guest's accesses. Whether they moved a BAR. Afterwards the machine is as at power-on.
pub fn accesses(input: &[u8]) -> bool {
    WAYS.with(|ways| {
        let ways = ways.get_or_init(Ways::new);
        let before = ways.bars();
        for access in input.chunks_exact(ACCESS).take(MOST) {
            let [way, size, a, b, c, d, value @ ..] = access else {
                continue;
            };
            let value = value.try_into().map_or(0, u64::from_le_bytes);
            ways.access(*way, *size, u32::from_le_bytes([*a, *b, *c, *d]), value);
        }
        let moved = ways.bars() != before;
        ways.machine
            .pci
            .reset()
            .expect("everything fitted when it was added");
        assert!(ways.bars() == before, "a reset puts every BAR back");
        moved
    })
}

/// An input's access by ECAM (`way` 0), the ports (1) or the BARs' window (2).
pub fn write(way: u8, size: u8, address: u64, value: u64) -> Vec<u8> {
    let base = [ECAM_BASE, PORTS, WINDOW_BASE][usize::from(way)];
    let place = (address - base) as u32;
    [
        &[way * 2 + 1, size][..],
        &place.to_le_bytes(),
        &value.to_le_bytes(),
    ]
    .concat()
}
