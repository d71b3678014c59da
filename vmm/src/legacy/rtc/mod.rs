//! The PC's clock and CMOS memory: a Motorola MC146818 (its datasheet; the century's place is IBM's).
//!
//! The time is the host's, in UTC, until the guest sets it; then it is as far off as the guest made
//! it. Alarm, update and periodic interrupts come from a thread of the machine in
//! [`Rtc::raise_interrupts`], which sleeps until one is due.

mod calendar;
mod interrupts;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use super::Unfit;
use crate::bus::BusDevice;
use calendar::{Format, Moment};

/// Number of ports: index and data.
pub const LEN: u64 = 2;
/// The CMOS byte with the century, as the FADT says.
pub const CENTURY: u8 = 0x32;

/// Bytes of CMOS, clock included.
const BYTES: usize = 128;
/// Status registers.
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const STATUS_C: u8 = 0x0c;
const STATUS_D: u8 = 0x0d;
/// Status A: the registers are about to change.
const UPDATE_IN_PROGRESS: u8 = 1 << 7;
/// How long before the change that is said: 244 microseconds (datasheet, "Update cycle").
const UPDATE_LEAD: Duration = Duration::from_micros(244);
/// Status A at power-on: 32,768 Hz crystal, periodic rate 1,024 Hz.
const STATUS_A_DEFAULT: u8 = 0x26;
/// Status B: clock stopped, to be set.
const SET: u8 = 1 << 7;
/// Status B: periodic, alarm and update-ended interrupts, at the bits of status C's causes.
const PERIODIC: u8 = 1 << 6;
const ALARM: u8 = 1 << 5;
const UPDATE: u8 = 1 << 4;
/// Status B: binary, not BCD.
const BINARY: u8 = 1 << 2;
/// Status B: hours from 0 to 23.
const HOURS_24: u8 = 1 << 1;
/// Status C: some cause is enabled.
const INTERRUPT: u8 = 1 << 7;
/// Status D: battery good.
const VALID: u8 = 1 << 7;

/// What the clock remembers.
struct State {
    index: u8,
    /// All of it; of the time's bytes only the alarm's, and while the clock is stopped, all.
    cmos: [u8; BYTES],
    /// How far the guest's clock is before the host's, in seconds.
    offset: i64,
    /// Up to which host time interrupts were looked for.
    seen: Duration,
    /// Whether nobody needs interrupts any more.
    ended: bool,
}

/// What the clock remembers, for saving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RtcState {
    index: u8,
    cmos: Vec<u8>,
    /// How far the guest's clock is before the host's, in seconds: so it is right whenever it goes on.
    offset: i64,
    /// Up to which host time interrupts were looked for: so the alarm of a later time rings.
    seen: Duration,
}

/// The furthest that a guest can set its clock from the host's, in seconds: the registers hold fewer
/// than 30,000 years.
const MAX_OFFSET: u64 = 30_000 * 366 * 86_400;

/// Clock and CMOS.
pub struct Rtc {
    shared: Shared,
}

struct Shared {
    /// Guards all registers and the order of interrupts.
    state: Mutex<State>,
    /// Registers changed that interrupts depend on.
    changed: Condvar,
    interrupt: EventFd,
}

/// How much memory there is, for firmware that asks CMOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySizes {
    /// RAM below 4 GiB, in bytes.
    pub low: u64,
    /// RAM above, in bytes.
    pub high: u64,
}

impl Rtc {
    /// A clock that pulses `interrupt`, in a machine with so much memory and so many vCPUs.
    pub fn new(interrupt: EventFd, memory: MemorySizes, cpus: u8) -> Self {
        let mut cmos = [0; BYTES];
        for (index, byte) in sizes(memory).into_iter().chain([(0x5f, cpus.saturating_sub(1))]) {
            set(&mut cmos, index, byte);
        }
        let state = State {
            index: 0,
            cmos,
            offset: 0,
            seen: host_time(),
            ended: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            interrupt,
        };
        let rtc = Self { shared };
        rtc.reset();
        rtc
    }

    /// What a reset line does to it (datasheet, "RESET pin"): interrupts off. Time and memory stay.
    pub fn reset(&self) {
        let mut state = self.shared.lock();
        state.index = 0;
        set(&mut state.cmos, STATUS_A, STATUS_A_DEFAULT);
        set(&mut state.cmos, STATUS_B, HOURS_24);
        set(&mut state.cmos, STATUS_C, 0);
        set(&mut state.cmos, STATUS_D, VALID);
        self.shared.changed.notify_all();
    }

    /// What the clock remembers, for saving.
    pub fn state(&self) -> RtcState {
        let state = self.shared.lock();
        RtcState {
            index: state.index,
            cmos: state.cmos.to_vec(),
            offset: state.offset,
            seen: state.seen,
        }
    }

    /// Takes over what [`Self::state`] gave: the clock shows the time that it would show had it never
    /// stopped. What came due in between interrupts now, once.
    ///
    /// # Errors
    /// It is no state of such a clock.
    pub fn restore(&self, saved: &RtcState) -> Result<(), Unfit> {
        let unfit = |why: &str| Unfit::new("clock", why);
        let cmos = <[u8; BYTES]>::try_from(saved.cmos.as_slice());
        let cmos = cmos.map_err(|_| unfit("its memory has 128 bytes"))?;
        if saved.offset.unsigned_abs() > MAX_OFFSET {
            return Err(unfit("its time is one that no guest can set"));
        }
        let mut state = self.shared.lock();
        (state.index, state.cmos, state.offset) = (saved.index & 0x7f, cmos, saved.offset);
        // The host's time may have been set back.
        state.seen = saved.seen.min(host_time());
        let is_pending = get(&state.cmos, STATUS_C) & INTERRUPT != 0;
        drop(state);
        self.shared.changed.notify_all();
        if is_pending {
            // The only failure is a counter at its end, and then the interrupt is pending already.
            let _ = self.shared.interrupt.write(1);
        }
        Ok(())
    }

    /// Raises interrupts as they come due: the work of a thread, which returns after [`Self::end`].
    pub fn raise_interrupts(&self) {
        interrupts::watch(&self.shared);
    }

    /// Ends [`Self::raise_interrupts`], now and for good.
    pub fn end(&self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }
}

/// QEMU's and SeaBIOS's places for memory sizes: KiB below 1 MiB, KiB above (twice), 64 KiB above
/// 16 MiB, 64 KiB above 4 GiB.
fn sizes(memory: MemorySizes) -> Vec<(u8, u8)> {
    let kib = |bytes: u64| (bytes >> 10).min(0xffff);
    let above_1m = kib(memory.low.saturating_sub(1 << 20));
    let above_16m = (memory.low.saturating_sub(16 << 20) >> 16).min(0xffff);
    let high = memory.high >> 16;
    let byte = |value: u64, index: u32| (value >> (8 * index)) as u8;
    vec![
        (0x15, byte(640, 0)),
        (0x16, byte(640, 1)),
        (0x17, byte(above_1m, 0)),
        (0x18, byte(above_1m, 1)),
        (0x30, byte(above_1m, 0)),
        (0x31, byte(above_1m, 1)),
        (0x34, byte(above_16m, 0)),
        (0x35, byte(above_16m, 1)),
        (0x5b, byte(high, 0)),
        (0x5c, byte(high, 1)),
        (0x5d, byte(high, 2)),
    ]
}

fn host_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn get(cmos: &[u8; BYTES], index: u8) -> u8 {
    cmos.get(usize::from(index)).copied().unwrap_or(0)
}

fn set(cmos: &mut [u8; BYTES], index: u8, value: u8) {
    if let Some(byte) = cmos.get_mut(usize::from(index)) {
        *byte = value;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn format(&self) -> Format {
        let status = get(&self.cmos, STATUS_B);
        Format {
            binary: status & BINARY != 0,
            hours_24: status & HOURS_24 != 0,
        }
    }

    fn stopped(&self) -> bool {
        get(&self.cmos, STATUS_B) & SET != 0
    }

    /// The guest's time when the host's is `now`.
    fn moment(&self, now: Duration) -> Moment {
        Moment::of(now.as_secs() as i64 + self.offset)
    }

    /// Writes the time into its registers.
    fn latch(&mut self, now: Duration) {
        for (index, byte) in self.moment(now).encode(self.format()) {
            set(&mut self.cmos, index, byte);
        }
    }

    /// Takes the time from its registers.
    fn unlatch(&mut self, now: Duration) {
        let moment = Moment::decode(|index| get(&self.cmos, index), self.format());
        self.offset = moment.seconds() - now.as_secs() as i64;
    }

    fn read(&mut self, now: Duration) -> u8 {
        let index = self.index;
        match index {
            _ if calendar::is_time(index) => {
                if !self.stopped() {
                    self.latch(now);
                }
                get(&self.cmos, index)
            }
            STATUS_A => {
                let to_change = Duration::from_secs(1) - Duration::from_nanos(now.subsec_nanos().into());
                let soon = !self.stopped() && to_change <= UPDATE_LEAD;
                get(&self.cmos, index) | if soon { UPDATE_IN_PROGRESS } else { 0 }
            }
            STATUS_C => {
                let causes = get(&self.cmos, index);
                set(&mut self.cmos, STATUS_C, 0);
                causes
            }
            _ => get(&self.cmos, index),
        }
    }

    fn write(&mut self, now: Duration, value: u8) {
        let index = self.index;
        match index {
            _ if calendar::is_time(index) => {
                let stopped = self.stopped();
                if !stopped {
                    self.latch(now);
                }
                set(&mut self.cmos, index, value);
                if !stopped {
                    self.unlatch(now);
                }
            }
            STATUS_A => set(&mut self.cmos, index, value & !UPDATE_IN_PROGRESS),
            STATUS_B => {
                if interrupts::enabled(self) == 0 {
                    // What would have come while the guest wanted none does not come later.
                    self.seen = now;
                }
                let was_stopped = self.stopped();
                if !was_stopped && value & SET != 0 {
                    self.latch(now);
                }
                // Stopping the clock takes back the update interrupt (datasheet, "SET").
                set(
                    &mut self.cmos,
                    index,
                    if value & SET != 0 { value & !UPDATE } else { value },
                );
                if was_stopped && value & SET == 0 {
                    self.unlatch(now);
                }
            }
            STATUS_C | STATUS_D => {}
            _ => set(&mut self.cmos, index, value),
        }
    }
}

impl BusDevice for Rtc {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        // The index cannot be read back.
        if let ([byte], 1) = (data, offset) {
            *byte = self.shared.lock().read(host_time());
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let [value, ..] = *data else { return };
        let mut state = self.shared.lock();
        if offset == 0 {
            // Bit 7 masks the NMI, of which there is none.
            state.index = value & 0x7f;
            return;
        }
        state.write(host_time(), value);
        if [STATUS_A, STATUS_B].contains(&state.index) {
            self.shared.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
