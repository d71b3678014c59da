//! The guest's wall clock, set to the host's: after the machine was saved and goes on later it is behind
//! by the time between.

use rustix::time::{ClockId, Timespec, clock_settime};

use crate::message::{Failure, FailureKind, Reply};

/// The latest time that is set, in seconds after 1970: the end of the year 9999, the last that every
/// program can print.
const LATEST: i64 = 253_402_300_799;

/// Sets the clock to `unix_ns` nanoseconds after 1970.
pub(super) fn set(unix_ns: u64) -> Reply {
    let result = moment(unix_ns).and_then(|moment| {
        clock_settime(ClockId::Realtime, moment).map_err(|errno| Failure {
            kind: FailureKind::System,
            message: format!("the clock cannot be set: {errno}"),
        })
    });
    match result {
        Ok(()) => Reply::Done,
        Err(failure) => Reply::Error(failure),
    }
}

fn moment(unix_ns: u64) -> Result<Timespec, Failure> {
    let (seconds, nanoseconds) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    // Nothing that counts nanoseconds in 64 bits lies behind it; the check is for those that will not.
    if seconds == 0 || seconds > LATEST {
        return Err(Failure {
            kind: FailureKind::Malformed,
            message: format!("{unix_ns} nanoseconds after 1970 are no time that a clock is set to"),
        });
    }
    Ok(Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_split_and_one_before_all_machines_is_refused() {
        let now = moment(1_764_129_600_123_456_789).expect("it is one");
        assert_eq!((now.tv_sec, now.tv_nsec), (1_764_129_600, 123_456_789));
        for never in [0, 999_999_999] {
            assert_eq!(
                moment(never).expect_err("it is none").kind,
                FailureKind::Malformed
            );
        }
    }
}
