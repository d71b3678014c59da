//! The machine's clock. It goes on from what it was told, by the processor's: it does not follow when the host's is
//! set, nor when the host sleeps. It is told again only then, since each telling sets it back by the time that the
//! telling takes.

use std::time::{Duration, Instant, SystemTime};

/// How far the host's clock may move away from what the machine's can know, and how late that may be told.
const MOST_OFF: Duration = Duration::from_secs(1);

/// A time that the machine is told, by both of the host's clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    time: SystemTime,
    at: Instant,
}

impl Told {
    /// The present time.
    pub(super) fn now() -> Self {
        Self {
            time: SystemTime::now(),
            at: Instant::now(),
        }
    }

    /// Nanoseconds since 1970, UTC.
    pub(super) fn nanos(self) -> String {
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().as_nanos().to_string()
    }

    /// Is a clock that was told this right at `now`?
    pub(super) fn holds_at(self, now: Self) -> bool {
        let passed = now.at.saturating_duration_since(self.at);
        let off = match now.time.duration_since(self.time) {
            Ok(moved) => moved.abs_diff(passed),
            // It was set back.
            Err(back) => back.duration().saturating_add(passed),
        };
        off <= MOST_OFF
    }

    /// What the machine's clock was told if it answered at `now`: nothing that holds if it was busy for so long that its
    /// clock may be as far behind.
    pub(super) fn answered_at(self, now: Self) -> Option<Self> {
        let took = now.at.saturating_duration_since(self.at);
        (took <= MOST_OFF).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_told_the_time_again_when_the_hosts_clock_was_set_or_the_host_slept() {
        let told = Told::now();
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let later = |time: SystemTime, passed| Told {
            time,
            at: told.at + passed,
        };
        assert!(told.holds_at(told));
        assert!(told.holds_at(later(told.time + 300 * second, 300 * second)));
        assert!(
            told.holds_at(later(told.time + 301 * second, 300 * second)),
            "it is near"
        );
        assert!(!told.holds_at(later(told.time + 302 * second, 300 * second)));
        assert!(!told.holds_at(later(told.time + hour, second)), "it slept");
        assert!(!told.holds_at(later(told.time - hour, second)), "it was set back");
        assert!(
            told.holds_at(later(told.time + hour, hour)),
            "it goes on by itself"
        );
    }

    #[test]
    fn a_time_that_a_busy_machine_was_told_late_does_not_hold() {
        let told = Told::now();
        let answered_after = |seconds| {
            let passed = Duration::from_secs(seconds);
            told.answered_at(Told {
                time: told.time + passed,
                at: told.at + passed,
            })
        };
        assert!(answered_after(1).is_some_and(|held| held.holds_at(told)));
        assert!(answered_after(2).is_none());
    }
}
