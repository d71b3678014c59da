//! The power management block: event and control registers and the timer (ACPI 6.5, section 4.8.3), and the status
//! and enable registers of general events (4.8.4.1), at the offsets of the ICH9 (datasheet, section 13.8.3). Of general
//! events there are 16, where the ICH9 has 64: a kernel writes every register of them as it starts.
//!
//! Ports of the block that hold nothing read as zero: a kernel that reads all ones there takes them for
//! events and never ends handling them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Line, PowerEvent, PowerSink};
use crate::bus::BusDevice;
use crate::kvm::vm::Level;

/// Number of ports.
pub const LEN: u64 = 128;
/// Offset of status and enable registers, 16 bits each.
pub const EVENT: u16 = 0;
/// Offset of the control register, 16 bits.
pub const CONTROL: u16 = 4;
/// Offset of the timer, 32 bits.
pub const TIMER: u16 = 8;
/// Offset of status and enable registers of general events, 16 bits each.
pub const GENERAL: u16 = 0x20;
/// Number of their ports.
pub const GENERAL_LEN: u8 = 4;
/// The general event that something is to be seen in the registers of hot-plug.
pub const HOTPLUG_EVENT: u8 = 1;
/// Offset of the control of system management interrupts, of which there are none, 32 bits (13.8.3.7).
const SMI: u64 = 0x30;
/// Its value: writing to port 0xB2 would make one. Firmware that reads this as set takes system management mode for
/// set up already; else SeaBIOS sets it up and waits for its first interrupt for ever.
const SMI_CONTROL: u8 = 1 << 5;
/// The sleep type that means power off, as the DSDT's `\_S5` says.
pub const S5: u8 = 0;

/// Status and enable: the power button.
const POWER_BUTTON: u16 = 1 << 8;
/// All that can be enabled: timer, global lock, power button, sleep button, clock.
const ENABLES: u16 = 1 << 0 | 1 << 5 | POWER_BUTTON | 1 << 9 | 1 << 10;
/// General events that exist.
const GENERAL_EVENTS: u16 = 1 << HOTPLUG_EVENT;
/// Control: events raise the system control interrupt. Always so.
const SCI_ENABLE: u16 = 1 << 0;
/// Control: go to sleep now.
const SLEEP_ENABLE: u16 = 1 << 13;
/// Ticks a second.
const TIMER_HZ: u128 = 3_579_545;

/// What the block remembers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerManagementState {
    status: u16,
    enable: u16,
    control: u16,
    /// Of general events.
    #[serde(default)]
    general_status: u16,
    /// The same.
    #[serde(default)]
    general_enable: u16,
    /// What the timer showed.
    timer: u32,
}

/// The registers now.
struct Registers {
    /// The timer's value is that at `since`.
    state: PowerManagementState,
    since: Instant,
}

/// The block.
pub struct PowerManagement {
    /// Guards the registers, and the order of changes on the interrupt line.
    registers: Mutex<Registers>,
    interrupt: Line,
    power: PowerSink,
}

impl PowerManagement {
    /// A block that raises `interrupt` for events and tells `power` when the guest powers off.
    pub fn new(interrupt: Line, power: PowerSink) -> Self {
        Self {
            registers: Mutex::new(Registers {
                state: PowerManagementState::default(),
                since: Instant::now(),
            }),
            interrupt,
            power,
        }
    }

    /// Presses the power button, which asks the guest to power itself off.
    pub fn press_power_button(&self) {
        let mut registers = self.lock();
        registers.state.status |= POWER_BUTTON;
        self.update_interrupt(&registers.state);
    }

    /// Raises the general event that has the guest look at the registers of hot-plug.
    pub fn ring_for_hotplug(&self) {
        let mut registers = self.lock();
        registers.state.general_status |= GENERAL_EVENTS;
        self.update_interrupt(&registers.state);
    }

    /// As at power-on; the timer goes on.
    pub fn reset(&self) {
        let mut registers = self.lock();
        registers.state = PowerManagementState {
            timer: registers.state.timer,
            ..PowerManagementState::default()
        };
        self.update_interrupt(&registers.state);
    }

    /// What the block remembers, for saving.
    pub fn state(&self) -> PowerManagementState {
        let registers = self.lock();
        PowerManagementState {
            timer: registers.timer(),
            ..registers.state
        }
    }

    /// Takes over what [`Self::state`] gave: the timer goes on from there, and the interrupt line is
    /// as the registers say. Bits that no guest can set are ignored.
    pub fn restore(&self, state: &PowerManagementState) {
        let mut registers = self.lock();
        registers.state = PowerManagementState {
            status: state.status & POWER_BUTTON,
            enable: state.enable & ENABLES,
            control: state.control & !SLEEP_ENABLE,
            general_status: state.general_status & GENERAL_EVENTS,
            general_enable: state.general_enable & GENERAL_EVENTS,
            timer: state.timer,
        };
        registers.since = Instant::now();
        self.update_interrupt(&registers.state);
    }

    fn lock(&self) -> MutexGuard<'_, Registers> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update_interrupt(&self, state: &PowerManagementState) {
        let fixed = state.status & state.enable & ENABLES;
        let raised = fixed | state.general_status & state.general_enable != 0;
        (self.interrupt)(if raised { Level::High } else { Level::Low });
    }
}

impl Registers {
    fn timer(&self) -> u32 {
        // The register is 32 bits of a counter that goes on.
        let ticks = self.since.elapsed().as_nanos() * TIMER_HZ / 1_000_000_000;
        self.state.timer.wrapping_add(ticks as u32)
    }
}

impl PowerManagementState {
    fn byte(&self, offset: u64) -> u8 {
        if offset == SMI {
            return SMI_CONTROL;
        }
        let general = [self.general_status, self.general_enable].map(u16::to_le_bytes);
        if let Some(at) = offset.checked_sub(GENERAL.into())
            && let Some(byte) = general.as_flattened().get(at as usize)
        {
            return *byte;
        }
        let [status, enable] = [self.status, self.enable].map(u16::to_le_bytes);
        let control = (self.control | SCI_ENABLE).to_le_bytes();
        let timer = self.timer.to_le_bytes();
        let registers = [status, enable, control, [0; 2]].concat();
        let all = registers.iter().chain(&timer);
        usize::try_from(offset)
            .ok()
            .and_then(|offset| all.copied().nth(offset))
            .unwrap_or(0)
    }
}

/// `word` with its byte `index` replaced.
fn with_byte(word: u16, index: u64, byte: u8) -> u16 {
    if index == 0 {
        (word & 0xff00) | u16::from(byte)
    } else {
        (word & 0x00ff) | (u16::from(byte) << 8)
    }
}

impl BusDevice for PowerManagement {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let state = self.state();
        for (place, byte) in (offset..).zip(data) {
            *byte = state.byte(place);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let mut registers = self.lock();
        let state = &mut registers.state;
        let mut off = false;
        for (place, &byte) in (offset..).zip(data) {
            match place {
                // What is written as one is cleared.
                0 | 1 => state.status &= !with_byte(0, place, byte),
                2 | 3 => state.enable = with_byte(state.enable, place - 2, byte) & ENABLES,
                4 | 5 => {
                    let control = with_byte(state.control, place - 4, byte);
                    off |= control & SLEEP_ENABLE != 0 && (control >> 10) & 7 == u16::from(S5);
                    state.control = control & !SLEEP_ENABLE;
                }
                0x20 | 0x21 => state.general_status &= !with_byte(0, place - 0x20, byte),
                0x22 | 0x23 => {
                    state.general_enable =
                        with_byte(state.general_enable, place - 0x22, byte) & GENERAL_EVENTS;
                }
                _ => {}
            }
        }
        self.update_interrupt(state);
        drop(registers);
        if off {
            (self.power)(PowerEvent::Off);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Bench {
        block: PowerManagement,
        line: Arc<Mutex<Level>>,
        events: Arc<Mutex<Vec<PowerEvent>>>,
    }

    fn bench() -> Bench {
        let (line, events) = (Arc::new(Mutex::new(Level::Low)), Arc::new(Mutex::new(Vec::new())));
        let (set, seen) = (Arc::clone(&line), Arc::clone(&events));
        let block = PowerManagement::new(
            Arc::new(move |level| *set.lock().expect("not poisoned") = level),
            Arc::new(move |event| seen.lock().expect("not poisoned").push(event)),
        );
        Bench { block, line, events }
    }

    fn word(block: &PowerManagement, offset: u64) -> u16 {
        let mut data = [0; 2];
        block.read(offset, &mut data);
        u16::from_le_bytes(data)
    }

    #[test]
    fn the_button_raises_the_interrupt_until_its_status_is_cleared() {
        let bench = bench();
        let level = || *bench.line.lock().expect("not poisoned");
        bench.block.press_power_button();
        assert_eq!(level(), Level::Low, "not enabled yet");
        bench.block.write(2, &POWER_BUTTON.to_le_bytes());
        assert_eq!(level(), Level::High);
        assert_eq!(word(&bench.block, 0), POWER_BUTTON);
        bench.block.write(0, &POWER_BUTTON.to_le_bytes());
        assert_eq!((level(), word(&bench.block, 0)), (Level::Low, 0));
        bench.block.press_power_button();
        bench.block.reset();
        assert_eq!(
            (level(), word(&bench.block, 0), word(&bench.block, 2)),
            (Level::Low, 0, 0)
        );
    }

    #[test]
    fn what_rings_for_hot_plug_raises_the_interrupt_until_its_status_is_cleared() {
        let bench = bench();
        let level = || *bench.line.lock().expect("not poisoned");
        let (status, enable) = (u64::from(GENERAL), u64::from(GENERAL) + 2);
        bench.block.ring_for_hotplug();
        assert_eq!(level(), Level::Low, "not enabled yet");
        bench.block.write(enable, &[0xff, 0xff]);
        assert_eq!(level(), Level::High);
        assert_eq!((word(&bench.block, status), word(&bench.block, enable)), (2, 2));
        let state = bench.block.state();
        bench.block.write(status, &[0xff]);
        assert_eq!((level(), word(&bench.block, status)), (Level::Low, 0));
        bench.block.restore(&state);
        assert_eq!((level(), word(&bench.block, status)), (Level::High, 2));
        bench.block.reset();
        assert_eq!((level(), word(&bench.block, enable)), (Level::Low, 0));
    }

    #[test]
    fn sleeping_as_s5_powers_off() {
        let bench = bench();
        let events = || bench.events.lock().expect("not poisoned").clone();
        bench.block.write(4, &SCI_ENABLE.to_le_bytes());
        bench.block.write(4, &(SLEEP_ENABLE | 5 << 10).to_le_bytes());
        assert!(events().is_empty(), "another sleep state, which there is not");
        bench.block.write(4, &SLEEP_ENABLE.to_le_bytes());
        assert_eq!(events(), [PowerEvent::Off]);
        assert_eq!(word(&bench.block, 4) & SLEEP_ENABLE, 0, "the bit reads as zero");
    }

    #[test]
    fn the_timer_ticks_at_its_frequency() {
        let bench = bench();
        let ticks = || {
            let mut data = [0; 4];
            bench.block.read(8, &mut data);
            u32::from_le_bytes(data)
        };
        let (start, before) = (Instant::now(), ticks());
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (after, end) = (ticks(), start.elapsed());
        assert!(u128::from(after - before) >= TIMER_HZ / 50);
        assert!(u128::from(after - before) <= end.as_nanos() * TIMER_HZ / 1_000_000_000 + 1);
    }

    #[test]
    fn a_restored_block_raises_its_interrupt_and_its_timer_goes_on() {
        let saved = bench();
        saved.block.write(2, &POWER_BUTTON.to_le_bytes());
        saved.block.press_power_button();
        let state = PowerManagementState {
            timer: 0x8000_0000,
            ..saved.block.state()
        };
        let fresh = bench();
        fresh.block.restore(&state);
        assert_eq!(*fresh.line.lock().expect("not poisoned"), Level::High);
        assert_eq!(
            (word(&fresh.block, 0), word(&fresh.block, 2)),
            (POWER_BUTTON, POWER_BUTTON)
        );
        let timer = fresh.block.state().timer;
        assert!(timer.wrapping_sub(0x8000_0000) < 1 << 30, "{timer:#x}");
        fresh.block.write(0, &POWER_BUTTON.to_le_bytes());
        assert_eq!(*fresh.line.lock().expect("not poisoned"), Level::Low);
    }

    #[test]
    fn firmware_takes_system_management_mode_for_set_up() {
        let bench = bench();
        bench.block.write(SMI, &[0; 4]);
        let mut control = [0; 4];
        bench.block.read(SMI, &mut control);
        assert_eq!(u32::from_le_bytes(control), 1 << 5);
    }

    #[test]
    fn every_port_answers_at_every_width_and_the_empty_ones_with_zero() {
        let bench = bench();
        for offset in 0..LEN {
            for len in 1..=8 {
                let mut data = vec![0xff; len];
                bench.block.read(offset, &mut data);
                let general = u64::from(GENERAL);
                let is_used = |first: u64, last| (first - 7..=last).contains(&offset);
                if offset >= 12 && !is_used(SMI, SMI) && !is_used(general, general + 3) {
                    assert_eq!(data, vec![0; len], "{offset:#x}");
                }
                bench.block.write(offset, &vec![0x0f; len]);
            }
        }
    }
}
