//! The host bridge in slot 0: the identity of QEMU's q35, which firmware looks for.

use super::config::{ConfigSpace, ConfigState, Identity};
use super::{ECAM_BASE, PciFunction};
use crate::virtio::Guarded;

/// PCIEXBAR: where ECAM is, and that it is on. Read back only; the machine does not move it.
const PCIEXBAR: usize = 0x60;
/// PAM0 to PAM6: shadow RAM of 0xC0000 to 0xFFFFF. Here that is always RAM; the bits are remembered.
const PAM: usize = 0x90;
const PAM_LEN: usize = 7;

/// An Intel Q35 MCH, 8086:29c0, without anything but its identity and remembered registers.
#[derive(Debug)]
pub struct HostBridge {
    config: Guarded<ConfigSpace>,
}

impl Default for HostBridge {
    fn default() -> Self {
        Self::new()
    }
}

impl HostBridge {
    /// The bridge as after power-on.
    pub fn new() -> Self {
        let mut config = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x29c0,
            revision: 0,
            class: 0x06_00_00,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
        });
        put_pciexbar(&mut config);
        config.allow(PAM, &[0x33; PAM_LEN]);
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
        put_pciexbar(&mut config);
    }
}

/// PCIEXBAR is no register of the guest's, so it is put back whenever the others are.
fn put_pciexbar(config: &mut ConfigSpace) {
    // Bit 0: enabled; bits 2:1 = 0: 256 MiB.
    let enabled = ECAM_BASE | 1;
    config.put(PCIEXBAR, &enabled.to_le_bytes());
}

impl PciFunction for HostBridge {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.config.lock().read(offset, data);
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        self.config.lock().write(offset, data);
    }

    fn reset(&self) {
        let mut config = self.config.lock();
        config.reset();
        put_pciexbar(&mut config);
    }
}
