//! The three ways in which a vCPU reaches the bus.
//!
//! Configuration accesses are of 1, 2 or 4 bytes, aligned to their size; every other one reads as ones
//! and writes nothing, as does one to a bus, device or function that does not exist.

use std::sync::Arc;

use super::{PciBus, Slot, WINDOW_BASE};
use crate::bus::BusDevice;

/// Bus, device, function and register of a configuration access.
struct Target {
    slot: Slot,
    register: u16,
}

impl Target {
    /// Splits an ECAM offset (PCI Express 7.2.2); `None` unless bus 0, function 0.
    fn of_ecam(offset: u64) -> Option<Self> {
        let bus_and_function = offset >> 20 | offset >> 12 & 0x7;
        let slot = Slot::new(u8::try_from(offset >> 15 & 0x1f).ok()?)?;
        let register = u16::try_from(offset & 0xfff).ok()?;
        (bus_and_function == 0).then_some(Self { slot, register })
    }

    /// Splits the address register of the ports (PCI 3.0, 3.2.2.3.2) and adds the port's low bits.
    fn of_ports(address: u32, low: u64) -> Option<Self> {
        let enabled = address & 1 << 31 != 0;
        let bus_and_function = address & 0x00ff_0700;
        let slot = Slot::new(u8::try_from(address >> 11 & 0x1f).ok()?)?;
        let register = u16::try_from(u64::from(address & 0xfc) | low & 3).ok()?;
        (enabled && bus_and_function == 0).then_some(Self { slot, register })
    }
}

fn is_whole(register: u64, len: usize) -> bool {
    matches!(len, 1 | 2 | 4) && register.is_multiple_of(len as u64)
}

/// Memory-mapped configuration space; offsets from [`super::ECAM_BASE`].
pub struct Ecam(Arc<PciBus>);

impl Ecam {
    /// The configuration space of `bus`.
    pub fn new(bus: Arc<PciBus>) -> Self {
        Self(bus)
    }
}

impl BusDevice for Ecam {
    fn read(&self, offset: u64, data: &mut [u8]) {
        match Target::of_ecam(offset).filter(|_| is_whole(offset, data.len())) {
            Some(target) => self.0.config_read(target.slot, target.register, data),
            None => data.fill(0xff),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some(target) = Target::of_ecam(offset).filter(|_| is_whole(offset, data.len())) {
            self.0.config_write(target.slot, target.register, data);
        }
    }
}

/// The ports 0xCF8 (address) to 0xCFF (data) of a PC; offsets from the first.
///
/// The reset control register 0xCF9 lies within: accesses of one byte to it go to the device given for
/// it, at that device's offset 0.
pub struct ConfigPorts {
    bus: Arc<PciBus>,
    reset_control: Arc<dyn BusDevice>,
}

impl ConfigPorts {
    /// The configuration ports of `bus`, with the device behind port 0xCF9.
    pub fn new(bus: Arc<PciBus>, reset_control: Arc<dyn BusDevice>) -> Self {
        Self { bus, reset_control }
    }

    fn target(&self, offset: u64, len: usize) -> Option<Target> {
        let low = offset.checked_sub(4)?;
        if !is_whole(low, len) || low + len as u64 > 4 {
            return None;
        }
        Target::of_ports(*self.bus.address.lock(), low)
    }
}

impl BusDevice for ConfigPorts {
    fn read(&self, offset: u64, data: &mut [u8]) {
        match (offset, data.len()) {
            (0, 4) => data.copy_from_slice(&self.bus.address.lock().to_le_bytes()),
            (1, 1) => self.reset_control.read(0, data),
            (_, len) => match self.target(offset, len) {
                Some(target) => self.bus.config_read(target.slot, target.register, data),
                None => data.fill(0xff),
            },
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        match (offset, data) {
            (0, &[a, b, c, d]) => self.bus.set_address(u32::from_le_bytes([a, b, c, d])),
            (1, &[_]) => self.reset_control.write(0, data),
            _ => {
                if let Some(target) = self.target(offset, data.len()) {
                    self.bus.config_write(target.slot, target.register, data);
                }
            }
        }
    }
}

/// The window of memory BARs; offsets from [`WINDOW_BASE`].
pub struct BarWindow(Arc<PciBus>);

impl BarWindow {
    /// The window of `bus`.
    pub fn new(bus: Arc<PciBus>) -> Self {
        Self(bus)
    }
}

impl BusDevice for BarWindow {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.0.memory_read(WINDOW_BASE.saturating_add(offset), data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.0.memory_write(WINDOW_BASE.saturating_add(offset), data);
    }
}
