//! The keyboard controller, as far as it resets the PC: the command 0xFE pulses the CPU's reset line.
//! It has no keyboard: its status is that of a controller which waits for one in vain.

use super::{PowerEvent, PowerSink, ResetCause};
use crate::bus::BusDevice;

/// Pulse output line 0.
const RESET: u8 = 0xfe;

/// Status: a byte is there, which never goes away; the keyboard did not answer in time; what it said was garbled. Firmware
/// then looks no further. That the controller is ready for commands is what a reset waits for.
const STATUS: u8 = 1 << 0 | 1 << 6 | 1 << 7;

/// Port 0x64.
pub struct I8042 {
    power: PowerSink,
}

impl I8042 {
    /// A controller that sends resets to `power`.
    pub fn new(power: PowerSink) -> Self {
        Self { power }
    }
}

impl BusDevice for I8042 {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(STATUS);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if offset == 0 && data.first() == Some(&RESET) {
            (self.power)(PowerEvent::Reset(ResetCause::KeyboardController));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn only_the_pulse_command_resets() {
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let controller = I8042::new(Arc::new(move |event| {
            seen.lock().expect("not poisoned").push(event)
        }));
        for command in [0x20u8, 0x60, 0xaa, 0xd1, 0xff] {
            controller.write(0, &[command]);
        }
        assert!(events.lock().expect("not poisoned").is_empty());
        controller.write(0, &[0xfe]);
        let reset = PowerEvent::Reset(ResetCause::KeyboardController);
        assert_eq!(*events.lock().expect("not poisoned"), [reset]);
    }
}
