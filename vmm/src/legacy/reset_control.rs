//! The reset control register at port 0xCF9 (Intel ICH9 datasheet, section 13.7.5), which lies in the
//! middle of PCI's configuration address register: that one is only ever written 4 bytes at a time,
//! this one only by 1.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::{PowerEvent, PowerSink, ResetCause};
use crate::bus::BusDevice;

/// Offset of the register in the configuration mechanism's ports.
const OFFSET: u64 = 1;
/// The CPU is reset when this becomes 1.
const RESET_CPU: u8 = 1 << 2;
/// Kept and read back: system reset, full reset.
const KEPT: u8 = 1 << 1 | 1 << 3;

/// Ports 0xCF8 to 0xCFF: the register, and for all else PCI's configuration mechanism.
pub struct ResetControl {
    register: AtomicU8,
    power: PowerSink,
    config: Arc<dyn BusDevice>,
}

impl ResetControl {
    /// The register in front of `config`, the ports of PCI's configuration mechanism.
    pub fn new(power: PowerSink, config: Arc<dyn BusDevice>) -> Self {
        Self {
            register: AtomicU8::new(0),
            power,
            config,
        }
    }

    /// As at power-on.
    pub fn reset(&self) {
        self.register.store(0, Ordering::Relaxed);
    }
}

impl BusDevice for ResetControl {
    fn read(&self, offset: u64, data: &mut [u8]) {
        match data {
            [byte] if offset == OFFSET => *byte = self.register.load(Ordering::Relaxed),
            data => self.config.read(offset, data),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        match data {
            [value] if offset == OFFSET => {
                self.register.store(value & KEPT, Ordering::Relaxed);
                if value & RESET_CPU != 0 {
                    (self.power)(PowerEvent::Reset(ResetCause::ResetControl));
                }
            }
            data => self.config.write(offset, data),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Config(Mutex<Vec<(u64, usize)>>);

    impl BusDevice for Config {
        fn read(&self, _offset: u64, data: &mut [u8]) {
            data.fill(0x55);
        }
        fn write(&self, offset: u64, data: &[u8]) {
            self.0.lock().expect("not poisoned").push((offset, data.len()));
        }
    }

    #[test]
    fn a_byte_is_the_reset_register_and_a_long_word_the_configuration_address() {
        let (events, config) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Config::default()));
        let seen = Arc::clone(&events);
        let power: PowerSink = Arc::new(move |event| seen.lock().expect("not poisoned").push(event));
        let register = ResetControl::new(power, config.clone());
        register.write(0, &[0xff; 4]);
        register.write(4, &[0xff; 1]);
        register.write(1, &[0x02]);
        assert!(events.lock().expect("not poisoned").is_empty());
        assert_eq!(*config.0.lock().expect("not poisoned"), [(0, 4), (4, 1)]);
        let mut byte = [0];
        register.read(1, &mut byte);
        assert_eq!(byte, [0x02]);
        register.write(1, &[0x06]);
        assert_eq!(
            *events.lock().expect("not poisoned"),
            [PowerEvent::Reset(ResetCause::ResetControl)]
        );
    }
}
