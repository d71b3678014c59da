//! The south bridge of a machine with firmware: the LPC bridge of an Intel ICH9 (datasheet, section 13.1) in slot 31,
//! by which firmware knows a q35. It moves nothing: the power management block is where firmware puts it anyhow.

use super::layout::PM;
use crate::pci::{ConfigSpace, ConfigState, Identity, PciFunction};
use crate::virtio::Guarded;

/// The slot in which firmware looks for it.
pub const LPC_SLOT: u8 = 31;

/// Command: ports, memory and bus mastering are on; on this bridge they cannot be turned off (13.1.3).
const COMMAND: usize = 0x04;
const ALWAYS_ON: u16 = 0b111;
/// PMBASE (13.1.13): where the power management block is. Bit 0 says that these are ports.
const PMBASE: usize = 0x40;
/// `ACPI_CNTL` (13.1.14): the block is decoded; its interrupt is line 9.
const ACPI_CONTROL: usize = 0x44;
const ACPI_ENABLE: u8 = 1 << 7;
/// Routes of the interrupt pins A to D, and E to H (13.1.16): no device here has a pin. Remembered.
const PIN_ROUTES: [usize; 2] = [0x60, 0x68];
const NOT_ROUTED: [u8; 4] = [0x80; 4];
const ROUTE_BITS: [u8; 4] = [0x8f; 4];
/// RCBA (13.1.35): where the chipset's other registers would be, of which there are none. Remembered.
const RCBA: usize = 0xf0;
const RCBA_BITS: u32 = 0xffff_c001;

/// The bridge: its identity and remembered registers.
#[derive(Debug)]
pub struct Lpc {
    config: Guarded<ConfigSpace>,
}

impl Default for Lpc {
    fn default() -> Self {
        Self::new()
    }
}

impl Lpc {
    /// The bridge as after power-on.
    pub fn new() -> Self {
        let mut config = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x2918,
            revision: 2,
            class: 0x06_01_00,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
        });
        for routes in PIN_ROUTES {
            config.allow(routes, &ROUTE_BITS);
        }
        config.allow(RCBA, &RCBA_BITS.to_le_bytes());
        put_fixed(&mut config);
        for routes in PIN_ROUTES {
            config.put(routes, &NOT_ROUTED);
        }
        Self {
            config: Guarded::new(config),
        }
    }

    /// What the guest changed.
    pub fn state(&self) -> ConfigState {
        self.config.lock().state()
    }

    /// Takes over what [`Self::state`] gave.
    pub fn restore(&self, state: &ConfigState) {
        let mut config = self.config.lock();
        config.restore(state);
        put_fixed(&mut config);
    }
}

/// What the guest reads and cannot change, whatever it wrote.
fn put_fixed(config: &mut ConfigSpace) {
    let mut command = [0; 2];
    config.read(COMMAND as u16, &mut command);
    let command = u16::from_le_bytes(command) | ALWAYS_ON;
    config.put(COMMAND, &command.to_le_bytes());
    config.put(PMBASE, &(PM | 1).to_le_bytes());
    config.put(ACPI_CONTROL, &[ACPI_ENABLE]);
}

impl PciFunction for Lpc {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.config.lock().read(offset, data);
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        let mut config = self.config.lock();
        config.write(offset, data);
        put_fixed(&mut config);
    }

    fn reset(&self) {
        let mut config = self.config.lock();
        config.reset();
        put_fixed(&mut config);
        for routes in PIN_ROUTES {
            config.put(routes, &NOT_ROUTED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(lpc: &Lpc, offset: u16) -> u32 {
        let mut data = [0; 4];
        lpc.config_read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn whatever_is_written_the_bridge_is_on_and_the_power_management_block_stays() {
        let lpc = Lpc::new();
        for value in [0u32, u32::MAX, 0x0b00_0001] {
            for offset in (0..0x100).step_by(4) {
                lpc.config_write(offset, &value.to_le_bytes());
            }
            assert_eq!(word(&lpc, 0), 0x2918_8086);
            assert_eq!(word(&lpc, 4) & 7, 7);
            assert_eq!((word(&lpc, 0x40), word(&lpc, 0x44)), (0x601, 0x80));
            assert_eq!(word(&lpc, 0xf0), value & RCBA_BITS);
        }
    }

    #[test]
    fn a_restored_bridge_has_what_was_written_and_a_reset_one_has_not() {
        let lpc = Lpc::new();
        lpc.config_write(0x60, &[10, 10, 11, 11]);
        let restored = Lpc::new();
        restored.restore(&lpc.state());
        assert_eq!(word(&restored, 0x60), 0x0b0b_0a0a);
        restored.reset();
        assert_eq!((word(&restored, 0x60), word(&restored, 4) & 7), (0x8080_8080, 7));
    }
}
