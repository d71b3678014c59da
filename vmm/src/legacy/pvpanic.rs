//! `pvpanic`: one port on which a guest's kernel says that it has panicked (QEMU's
//! `docs/specs/pvpanic.rst`).

use super::{PowerEvent, PowerSink};
use crate::bus::BusDevice;

/// Bit 0: the kernel has panicked and will not go on.
const PANICKED: u8 = 1 << 0;
/// Bit 1: it has panicked and loads a crash kernel now, which is not the end.
const CRASH_LOADED: u8 = 1 << 1;

/// The port.
pub struct PvPanic {
    power: PowerSink,
}

impl PvPanic {
    /// A port that sends panics to `power`.
    pub fn new(power: PowerSink) -> Self {
        Self { power }
    }
}

impl BusDevice for PvPanic {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(events) = data.first_mut() {
            *events = PANICKED | CRASH_LOADED;
        }
    }

    fn write(&self, _offset: u64, data: &[u8]) {
        if data.first().is_some_and(|events| events & PANICKED != 0) {
            (self.power)(PowerEvent::Panicked);
        }
    }
}
