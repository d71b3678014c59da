//! The clock as a guest reads and sets it.

use std::time::Instant;

use super::calendar::{HOUR_ALARM, MINUTE_ALARM, SECOND_ALARM};
use super::*;

fn rtc() -> (Rtc, EventFd) {
    let event = EventFd::new(0).expect("descriptors are to be had");
    let other = event.try_clone().expect("descriptors are to be had");
    (
        Rtc::new(
            event,
            MemorySizes {
                low: 0x8000_0000,
                high: 5 << 30,
            },
            4,
        ),
        other,
    )
}

fn read(rtc: &Rtc, index: u8) -> u8 {
    let mut byte = [0];
    rtc.write(0, &[index]);
    rtc.read(1, &mut byte);
    byte[0]
}

fn write(rtc: &Rtc, index: u8, value: u8) {
    rtc.write(0, &[index]);
    rtc.write(1, &[value]);
}

fn state(rtc: &Rtc) -> MutexGuard<'_, State> {
    rtc.shared.lock()
}

#[test]
fn the_time_is_the_host_s() {
    let (rtc, _) = rtc();
    let before = host_time().as_secs() as i64;
    let shown = {
        let mut state = state(&rtc);
        state.latch(host_time());
        Moment::decode(|index| get(&state.cmos, index), state.format()).seconds()
    };
    assert!((before..=before + 2).contains(&shown), "{before} {shown}");
}

#[test]
fn known_moments_are_spelled_right() {
    let bcd = Format {
        binary: false,
        hours_24: true,
    };
    let spelled = |seconds| Moment::of(seconds).encode(bcd).map(|register| register.1);
    // Seconds, minutes, hours, weekday (Sunday is 1), day, month, year, century.
    assert_eq!(spelled(0), [0, 0, 0, 5, 1, 1, 0x70, 0x19]);
    assert_eq!(spelled(951_782_399), [0x59, 0x59, 0x23, 2, 0x28, 2, 0, 0x20]);
    assert_eq!(spelled(951_782_400), [0, 0, 0, 3, 0x29, 2, 0, 0x20]);
    assert_eq!(
        spelled(1_735_689_599),
        [0x59, 0x59, 0x23, 3, 0x31, 0x12, 0x24, 0x20]
    );
    assert_eq!(spelled(4_102_444_800), [0, 0, 0, 6, 1, 1, 0, 0x21]);
}

#[test]
fn every_format_reads_back_what_it_spells() {
    for binary in [false, true] {
        for hours_24 in [false, true] {
            let format = Format { binary, hours_24 };
            for seconds in (0..4_102_444_800i64).step_by(7_654_321).chain(0..90_000) {
                let registers = Moment::of(seconds).encode(format);
                let register = |index| {
                    registers
                        .iter()
                        .find(|register| register.0 == index)
                        .map_or(0, |register| register.1)
                };
                assert_eq!(Moment::decode(register, format).seconds(), seconds, "{format:?}");
            }
        }
    }
}

#[test]
fn a_time_that_was_set_goes_on_from_there() {
    let (rtc, _) = rtc();
    write(&rtc, STATUS_B, SET | HOURS_24);
    for (index, value) in [
        (0x32, 0x19),
        (9, 0x99),
        (8, 0x12),
        (7, 0x31),
        (4, 0x23),
        (2, 0x59),
        (0, 0x58),
    ] {
        write(&rtc, index, value);
    }
    assert_eq!(
        read(&rtc, 0),
        0x58,
        "a clock that is stopped shows what was written"
    );
    write(&rtc, STATUS_B, HOURS_24);
    let now = host_time();
    let moment = state(&rtc).moment(now).seconds();
    assert!((946_684_798..=946_684_799).contains(&moment), "{moment}");
    let later = state(&rtc).moment(now + Duration::from_secs(10)).seconds();
    assert_eq!(later, moment + 10);
}

#[test]
fn an_update_is_announced_before_the_second_changes() {
    let (rtc, _) = rtc();
    let mut state = state(&rtc);
    state.index = STATUS_A;
    let at = |nanoseconds| Duration::new(1_000_000, nanoseconds);
    assert_eq!(state.read(at(0)) & UPDATE_IN_PROGRESS, 0);
    assert_eq!(state.read(at(999_700_000)) & UPDATE_IN_PROGRESS, 0);
    assert_eq!(
        state.read(at(999_800_000)) & UPDATE_IN_PROGRESS,
        UPDATE_IN_PROGRESS
    );
}

#[test]
fn cmos_says_how_much_memory_there_is() {
    let (rtc, _) = rtc();
    let word = |low, high| u64::from(read(&rtc, low)) | u64::from(read(&rtc, high)) << 8;
    assert_eq!(word(0x34, 0x35) << 16, 0x8000_0000 - (16 << 20));
    assert_eq!(
        (word(0x5b, 0x5c) | u64::from(read(&rtc, 0x5d)) << 16) << 16,
        5 << 30
    );
    assert_eq!(read(&rtc, 0x5f), 3);
}

#[test]
fn memory_keeps_what_is_written_also_over_a_reset() {
    let (rtc, _) = rtc();
    write(&rtc, 0x7f, 0xa5);
    write(&rtc, STATUS_B, HOURS_24 | PERIODIC);
    rtc.reset();
    assert_eq!((read(&rtc, 0x7f), read(&rtc, STATUS_B)), (0xa5, HOURS_24));
    assert_eq!(read(&rtc, STATUS_D), VALID);
}

#[test]
fn an_alarm_interrupts_in_its_second() {
    let (rtc, _) = rtc();
    let mut state = state(&rtc);
    state.seen = Duration::from_secs(86_399);
    set(&mut state.cmos, STATUS_B, HOURS_24 | ALARM);
    for (index, value) in [(1, 0x30), (3, 0x15), (5, 0x10)] {
        set(&mut state.cmos, index, value);
    }
    let rings = Duration::from_secs(86_400 + 10 * 3600 + 15 * 60 + 30);
    assert_eq!(interrupts::due(&state, rings - Duration::from_millis(1)), 0);
    assert_eq!(interrupts::due(&state, rings), ALARM);
    state.seen = rings;
    assert_eq!(interrupts::due(&state, rings + Duration::from_secs(5)), 0);
    set(&mut state.cmos, 5, 0xff);
    assert_eq!(
        interrupts::due(&state, rings + Duration::from_secs(3600)),
        ALARM,
        "every hour"
    );
}

#[test]
fn enabled_interrupts_arrive_and_reading_status_c_takes_them() {
    let (rtc, event) = rtc();
    std::thread::scope(|scope| {
        scope.spawn(|| rtc.raise_interrupts());
        write(&rtc, STATUS_B, HOURS_24 | PERIODIC);
        event.read().expect("an interrupt comes");
        assert_eq!(
            read(&rtc, STATUS_C) & (INTERRUPT | PERIODIC),
            INTERRUPT | PERIODIC
        );
        write(&rtc, STATUS_B, HOURS_24);
        rtc.end();
    });
}

#[test]
fn odd_accesses_do_no_harm() {
    let (rtc, _) = rtc();
    for len in 0..=8 {
        for offset in 0..LEN {
            for value in [0, 0x80, 0xff] {
                rtc.write(offset, &vec![value; len]);
                rtc.read(offset, &mut vec![0; len]);
            }
        }
    }
}

#[test]
fn a_restored_clock_is_as_far_from_the_host_as_it_was_and_its_interrupt_is_raised_again() {
    let (saved, _) = rtc();
    write(&saved, 0x40, 0x5a);
    {
        let mut state = state(&saved);
        state.offset = -86_400 * 365;
        set(&mut state.cmos, STATUS_C, INTERRUPT | ALARM);
    }
    let (fresh, event) = rtc();
    // As it travels.
    let text = serde_json::to_string(&saved.state()).expect("plain data serializes");
    let state: RtcState = serde_json::from_str(&text).expect("it was just written");
    fresh.restore(&state).expect("it is a clock's");
    assert_eq!(event.read().expect("raised"), 1);
    assert_eq!(fresh.state(), saved.state());
    assert_eq!(read(&fresh, 0x40), 0x5a);
    assert_eq!(read(&fresh, STATUS_C), INTERRUPT | ALARM);
}

/// Sets the alarm, which is not enabled, to the time of day of so many seconds ago.
fn set_alarm(rtc: &Rtc, seconds_ago: u64) {
    let then = host_time().as_secs() - seconds_ago;
    let (second, minute, hour) = Moment::of(then as i64).time_of_day();
    for (index, value) in [(SECOND_ALARM, second), (MINUTE_ALARM, minute), (HOUR_ALARM, hour)] {
        let value = state(rtc).format().number(value);
        write(rtc, index, value);
    }
}

#[test]
fn an_alarm_that_came_while_the_machine_was_not_there_rings_once_it_goes_on() {
    let (saved, _) = rtc();
    set_alarm(&saved, 60);
    write(&saved, STATUS_B, HOURS_24 | ALARM);
    state(&saved).seen = host_time() - Duration::from_secs(120);
    let (fresh, event) = rtc();
    std::thread::scope(|scope| {
        // A fresh machine's thread waits for a guest that wants interrupts.
        scope.spawn(|| fresh.raise_interrupts());
        fresh.restore(&saved.state()).expect("it is a clock's");
        let deadline = Instant::now() + Duration::from_secs(60);
        while get(&state(&fresh).cmos, STATUS_C) == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        fresh.end();
    });
    assert_eq!(read(&fresh, STATUS_C), INTERRUPT | ALARM);
    assert_eq!(event.read().expect("raised"), 1);
    let ahead = RtcState {
        seen: Duration::MAX,
        ..saved.state()
    };
    fresh.restore(&ahead).expect("it is a clock's");
    assert!(state(&fresh).seen <= host_time(), "it goes on looking");
}

#[test]
fn an_alarm_that_the_guest_did_not_want_then_does_not_ring_later() {
    let (rtc, _) = rtc();
    set_alarm(&rtc, 60);
    state(&rtc).seen = host_time() - Duration::from_secs(120);
    write(&rtc, STATUS_B, HOURS_24 | ALARM);
    assert_eq!(interrupts::due(&state(&rtc), host_time()), 0);
}

#[test]
fn a_state_that_no_clock_can_have_is_refused() {
    let (rtc, _) = rtc();
    let good = rtc.state();
    for bad in [
        RtcState {
            cmos: vec![0; 127],
            ..good.clone()
        },
        RtcState {
            offset: i64::MIN,
            ..good.clone()
        },
        RtcState {
            offset: i64::MAX,
            ..good
        },
    ] {
        let refusal = rtc.restore(&bad).expect_err("it is refused");
        assert!(refusal.to_string().contains("clock"), "{refusal}");
    }
    read(&rtc, 0);
}
