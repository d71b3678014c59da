//! The reset control register at port 0xCF9 (Intel ICH9 datasheet, section 13.7.5). It lies in the
//! middle of PCI's configuration address register: that one is only ever accessed 4 bytes at a time,
//! this one by 1, so PCI's ports hand such accesses on to it.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

use super::{PowerEvent, PowerSink, ResetCause};
use crate::bus::BusDevice;

/// The CPU is reset when this is written as 1.
const RESET_CPU: u8 = 1 << 2;
/// Kept and read back: system reset, full reset.
const KEPT: u8 = 1 << 1 | 1 << 3;

/// What the register remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetControlState {
    register: u8,
}

/// The register.
pub struct ResetControl {
    register: AtomicU8,
    power: PowerSink,
}

impl ResetControl {
    /// A register that sends resets to `power`.
    pub fn new(power: PowerSink) -> Self {
        Self {
            register: AtomicU8::new(0),
            power,
        }
    }

    /// As at power-on.
    pub fn reset(&self) {
        self.register.store(0, Ordering::Relaxed);
    }

    /// What the register holds, for saving.
    pub fn state(&self) -> ResetControlState {
        ResetControlState {
            register: self.register.load(Ordering::Relaxed),
        }
    }

    /// Takes over what [`Self::state`] gave; bits that no guest can set are ignored.
    pub fn restore(&self, state: ResetControlState) {
        self.register.store(state.register & KEPT, Ordering::Relaxed);
    }
}

impl BusDevice for ResetControl {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(self.register.load(Ordering::Relaxed));
    }

    fn write(&self, _offset: u64, data: &[u8]) {
        let [value] = *data else { return };
        self.register.store(value & KEPT, Ordering::Relaxed);
        if value & RESET_CPU != 0 {
            (self.power)(PowerEvent::Reset(ResetCause::ResetControl));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn only_the_cpu_s_reset_bit_resets() {
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let power: PowerSink = Arc::new(move |event| seen.lock().expect("not poisoned").push(event));
        let register = ResetControl::new(power);
        register.write(0, &[0x02]);
        register.write(0, &[0xff; 4]);
        assert!(events.lock().expect("not poisoned").is_empty());
        let mut byte = [0];
        register.read(0, &mut byte);
        assert_eq!(byte, [0x02]);
        register.write(0, &[0x06]);
        assert_eq!(
            *events.lock().expect("not poisoned"),
            [PowerEvent::Reset(ResetCause::ResetControl)]
        );
    }
}
