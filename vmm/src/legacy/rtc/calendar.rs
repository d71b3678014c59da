//! Seconds to year, month, day and back, and how the clock's registers spell them.

/// A moment in UTC, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    seconds: i64,
}

/// How the registers spell numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    /// Binary, or else BCD.
    pub(super) binary: bool,
    /// Hours from 0 to 23, or else from 1 to 12 with bit 7 for the afternoon.
    pub(super) hours_24: bool,
}

const SECOND: u8 = 0x00;
pub(super) const SECOND_ALARM: u8 = 0x01;
const MINUTE: u8 = 0x02;
pub(super) const MINUTE_ALARM: u8 = 0x03;
const HOUR: u8 = 0x04;
pub(super) const HOUR_ALARM: u8 = 0x05;
const WEEKDAY: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;

const DAY_SECONDS: i64 = 86_400;

/// Whether the register holds a part of the time.
pub(super) fn is_time(index: u8) -> bool {
    [SECOND, MINUTE, HOUR, WEEKDAY, DAY, MONTH, YEAR, super::CENTURY].contains(&index)
}

impl Format {
    pub(super) fn number(self, value: u8) -> u8 {
        if self.binary {
            value
        } else {
            ((value / 10) << 4) | (value % 10)
        }
    }

    pub(super) fn value(self, number: u8) -> u8 {
        if self.binary {
            number
        } else {
            (number >> 4).wrapping_mul(10).wrapping_add(number & 0x0f)
        }
    }

    pub(super) fn hour(self, hour: u8) -> u8 {
        if self.hours_24 {
            return self.number(hour);
        }
        let afternoon = if hour >= 12 { 0x80 } else { 0 };
        self.number(match hour % 12 {
            0 => 12,
            other => other,
        }) | afternoon
    }

    fn hour_value(self, number: u8) -> u8 {
        if self.hours_24 {
            return self.value(number);
        }
        self.value(number & 0x7f) % 12 + if number & 0x80 != 0 { 12 } else { 0 }
    }
}

impl Moment {
    /// So many seconds after 1970.
    pub(super) fn of(seconds: i64) -> Self {
        Self { seconds }
    }

    /// Seconds after 1970.
    pub(super) fn seconds(self) -> i64 {
        self.seconds
    }

    /// Second, minute, hour.
    pub(super) fn time_of_day(self) -> (u8, u8, u8) {
        let seconds = self.seconds.rem_euclid(DAY_SECONDS);
        (
            (seconds % 60) as u8,
            (seconds / 60 % 60) as u8,
            (seconds / 3600) as u8,
        )
    }

    /// Each register and what it holds.
    pub(super) fn encode(self, format: Format) -> [(u8, u8); 8] {
        let (second, minute, hour) = self.time_of_day();
        let days = self.seconds.div_euclid(DAY_SECONDS);
        let (year, month, day) = civil(days);
        // The first of January 1970 was a Thursday, and Sunday is 1.
        let weekday = (days + 4).rem_euclid(7) + 1;
        [
            (SECOND, format.number(second)),
            (MINUTE, format.number(minute)),
            (HOUR, format.hour(hour)),
            (WEEKDAY, format.number(weekday as u8)),
            (DAY, format.number(day)),
            (MONTH, format.number(month)),
            (YEAR, format.number(year.rem_euclid(100) as u8)),
            (super::CENTURY, format.number((year / 100).rem_euclid(100) as u8)),
        ]
    }

    /// The moment that the registers spell; numbers that are none of a date count on.
    pub(super) fn decode(register: impl Fn(u8) -> u8, format: Format) -> Self {
        let value = |index| i64::from(format.value(register(index)));
        let year = value(super::CENTURY) * 100 + value(YEAR);
        let days = days(year, value(MONTH).clamp(1, 12), value(DAY));
        let hour = i64::from(format.hour_value(register(HOUR)));
        Self {
            seconds: days * DAY_SECONDS + hour * 3600 + value(MINUTE) * 60 + value(SECOND),
        }
    }
}

/// Days from 1970 to a date of the Gregorian calendar. Years are counted from March, so that the leap
/// day is a year's last: a month then begins (153 * month + 2) / 5 days after the year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + of_year - 719_468
}

/// Year, month and day of a day counted from 1970: the inverse of [`days`].
fn civil(days_since_1970: i64) -> (i64, u8, u8) {
    let days = days_since_1970 + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + carry, month as u8, day as u8)
}
