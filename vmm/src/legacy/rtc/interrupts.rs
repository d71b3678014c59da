//! When the clock interrupts: at the alarm, at the end of each update, and periodically.

use std::sync::PoisonError;
use std::time::Duration;

use super::calendar::{HOUR_ALARM, MINUTE_ALARM, Moment, SECOND_ALARM};
use super::{
    ALARM, INTERRUPT, PERIODIC, STATUS_A, STATUS_B, STATUS_C, Shared, State, UPDATE, get, host_time, set,
};

/// The shortest period that is kept: a host thread does not wake 8,192 times a second for a guest's
/// clock. Interrupts in between are joined.
const SHORTEST: Duration = Duration::from_millis(1);

/// The causes that the guest wants interrupts of.
pub(super) fn enabled(state: &State) -> u8 {
    get(&state.cmos, STATUS_B) & (PERIODIC | ALARM | UPDATE)
}

/// Raises interrupts as they come due, until the clock is stopped for good.
pub(super) fn watch(shared: &Shared) {
    let mut state = shared.lock();
    while !state.ended {
        let now = host_time();
        let causes = due(&state, now);
        state.seen = now;
        if causes != 0 {
            let before = get(&state.cmos, STATUS_C);
            set(&mut state.cmos, STATUS_C, before | causes | INTERRUPT);
            // The only failure is a counter at its end, and then the interrupt is pending already.
            let _ = shared.interrupt.write(1);
        }
        state = if enabled(&state) == 0 {
            let idle = |state: &mut State| enabled(state) == 0 && !state.ended;
            shared
                .changed
                .wait_while(state, idle)
                .unwrap_or_else(PoisonError::into_inner)
        } else {
            let pause = pause(&state, now);
            shared
                .changed
                .wait_timeout(state, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        };
    }
}

/// Which enabled causes came up between `state.seen` and `now`.
pub(super) fn due(state: &State, now: Duration) -> u8 {
    let mut causes = 0;
    let ended = now.as_secs().saturating_sub(state.seen.as_secs());
    if ended > 0 && !state.stopped() {
        causes |= UPDATE;
        // A second that was slept through was there all the same; a day holds every alarm.
        let first = now.as_secs() - ended.min(86_400) + 1;
        if (first..=now.as_secs()).any(|second| rings(state, Duration::from_secs(second))) {
            causes |= ALARM;
        }
    }
    if let Some(period) = period(state)
        && state.seen.as_nanos() / period.as_nanos() != now.as_nanos() / period.as_nanos()
    {
        causes |= PERIODIC;
    }
    causes & enabled(state)
}

/// Whether the alarm is set for the second that begins at host time `at`.
fn rings(state: &State, at: Duration) -> bool {
    let format = state.format();
    let (second, minute, hour) = Moment::of(at.as_secs() as i64 + state.offset).time_of_day();
    // The two highest bits of an alarm's register mean "any".
    let matches = |index, wanted| {
        let alarm = get(&state.cmos, index);
        alarm & 0xc0 == 0xc0 || alarm == wanted
    };
    matches(SECOND_ALARM, format.number(second))
        && matches(MINUTE_ALARM, format.number(minute))
        && matches(HOUR_ALARM, format.hour(hour))
}

/// The periodic rate (datasheet, table 5, for the 32,768 Hz crystal).
fn period(state: &State) -> Option<Duration> {
    if enabled(state) & PERIODIC == 0 {
        return None;
    }
    let shift = match get(&state.cmos, STATUS_A) & 0x0f {
        0 => return None,
        // The two fastest wrap to 256 and 128 Hz.
        rate @ (1 | 2) => rate + 6,
        rate => rate - 1,
    };
    Some(Duration::from_nanos((1_000_000_000u64 << shift) / 32_768).max(SHORTEST))
}

/// How long nothing can be due.
fn pause(state: &State, now: Duration) -> Duration {
    let to_second = Duration::from_secs(1) - Duration::from_nanos(now.subsec_nanos().into());
    let to_period = period(state)
        .map(|period| Duration::from_nanos((period.as_nanos() - now.as_nanos() % period.as_nanos()) as u64));
    to_period.map_or(to_second, |to_period| to_period.min(to_second))
}
