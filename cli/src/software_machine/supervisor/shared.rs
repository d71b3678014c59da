//! What the supervisor's threads know together.

use super::clock::Told;
use crate::software_machine::{settings::Settings, wire::Status};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where the machine is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not yet usable, and what is being done.
    Starting(String),
    /// Commands can run.
    Running,
    /// Somebody asked for its end, or it was idle.
    Stopping,
    /// It is over; with the reason if it was not asked for.
    Ended(Option<String>),
}

#[derive(Debug)]
struct State {
    phase: Phase,
    leases: usize,
    /// When the last lease ended.
    idle_since: Instant,
    /// When the agent last answered.
    heard: Instant,
    restarts: u32,
    last_failure: Option<String>,
    /// A restart that no command was told of yet.
    untold: Option<String>,
    /// The programs in the machine.
    stamp: String,
    /// What time it was told last; none if its clock may be wrong since.
    told: Option<Told>,
    /// Connections that still want a reply.
    waiting: usize,
}

/// One mutex, one condition; nothing is waited for under the lock but the condition itself.
#[derive(Debug)]
pub(super) struct Shared {
    settings: Settings,
    began: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let state = State {
            phase: Phase::Starting("preparing".to_owned()),
            leases: 0,
            idle_since: now,
            heard: now,
            restarts: 0,
            last_failure: None,
            untold: None,
            stamp: String::new(),
            told: None,
            waiting: 0,
        };
        Self {
            settings,
            began: now,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// A thread that panicked under the lock left plain values: they are still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().phase.clone()
    }

    /// Moves on, unless its end was asked for already.
    pub(super) fn set_phase(&self, phase: Phase) {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Stopping | Phase::Ended(_)) {
            state.phase = phase;
            state.heard = Instant::now();
            state.idle_since = Instant::now();
        }
        self.changed.notify_all();
    }

    pub(super) fn ask_for_end(&self) {
        self.set_phase(Phase::Stopping);
    }

    /// Asks for its end if still nobody has used it for longer than `limit`. False if somebody does again: who gets a
    /// lease is not shut down.
    pub(super) fn end_if_idle(&self, limit: Duration) -> bool {
        let mut state = self.lock();
        let idle = state.leases == 0 && state.idle_since.elapsed() > limit;
        let ends = idle && state.phase == Phase::Running;
        if ends {
            state.phase = Phase::Stopping;
            self.changed.notify_all();
        }
        ends
    }

    pub(super) fn end(&self, reason: Option<String>) {
        self.lock().phase = Phase::Ended(reason);
        self.changed.notify_all();
    }

    /// A machine whose end was asked for is not started again.
    pub(super) fn may_restart(&self) -> bool {
        matches!(self.lock().phase, Phase::Starting(_) | Phase::Running)
    }

    pub(super) fn restart(&self, reason: &str) {
        let mut state = self.lock();
        state.restarts += 1;
        state.last_failure = Some(reason.to_owned());
        state.untold = Some(reason.to_owned());
        drop(state);
        self.set_phase(Phase::Starting("starting again".to_owned()));
    }

    /// Waits until the phase is another one than `known`; what it is then.
    pub(super) fn wait_for_change(&self, known: &Phase, at_most: Duration) -> Phase {
        let state = self.lock();
        let result = self
            .changed
            .wait_timeout_while(state, at_most, |s| s.phase == *known);
        result.unwrap_or_else(PoisonError::into_inner).0.phase.clone()
    }

    /// Takes a lease if the machine runs. It ends with the returned guard.
    pub(super) fn lease(self: &std::sync::Arc<Self>) -> Option<Lease> {
        let mut state = self.lock();
        if state.phase != Phase::Running {
            return None;
        }
        state.leases += 1;
        Some(Lease {
            of: std::sync::Arc::clone(self),
        })
    }

    /// How long nobody has used the machine; none while somebody does.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        let state = self.lock();
        (state.leases == 0).then(|| state.idle_since.elapsed())
    }

    /// The idle time begins anew.
    pub(super) fn not_idle(&self) {
        self.lock().idle_since = Instant::now();
    }

    pub(super) fn heard(&self) {
        self.lock().heard = Instant::now();
    }

    pub(super) fn silent_for(&self) -> Duration {
        self.lock().heard.elapsed()
    }

    pub(super) fn stamp(&self) -> String {
        self.lock().stamp.clone()
    }

    pub(super) fn set_stamp(&self, stamp: String) {
        self.lock().stamp = stamp;
    }

    pub(super) fn told(&self) -> Option<Told> {
        self.lock().told
    }

    pub(super) fn set_told(&self, told: Option<Told>) {
        self.lock().told = told;
    }

    /// The restart that nobody was told of, once.
    pub(super) fn take_untold(&self) -> Option<String> {
        self.lock().untold.take()
    }

    pub(super) fn reply_wanted(&self) {
        self.lock().waiting += 1;
    }

    pub(super) fn reply_given(&self) {
        let mut state = self.lock();
        state.waiting = state.waiting.saturating_sub(1);
        self.changed.notify_all();
    }

    pub(super) fn wait_for_replies(&self, at_most: Duration) {
        let state = self.lock();
        let _ = self.changed.wait_timeout_while(state, at_most, |s| s.waiting > 0);
    }

    pub(super) fn status(&self) -> Status {
        let state = self.lock();
        let name = match &state.phase {
            Phase::Starting(_) => "starting",
            Phase::Running => "running",
            Phase::Stopping => "stopping",
            Phase::Ended(_) => "stopped",
        };
        Status {
            state: name.to_owned(),
            uptime_seconds: self.began.elapsed().as_secs(),
            memory: self.settings.memory_bytes(),
            cpus: self.settings.cpu_count(),
            disk: Some(self.settings.disk_bytes()),
            commands: state.leases,
            restarts: state.restarts,
            last_failure: state.last_failure.clone(),
        }
    }
}

/// The machine is in use as long as this lives.
#[derive(Debug)]
pub(super) struct Lease {
    of: std::sync::Arc<Shared>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.of.lock();
        state.leases = state.leases.saturating_sub(1);
        state.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_lease_ends_the_idle_time_and_its_end_begins_it() {
        let shared = Arc::new(Shared::new(Settings::default()));
        assert!(shared.lease().is_none(), "not before it runs");
        shared.set_phase(Phase::Running);
        let lease = shared.lease().expect("it runs");
        assert_eq!(shared.idle_for(), None);
        drop(lease);
        assert!(shared.idle_for().is_some());
    }

    #[test]
    fn a_machine_that_was_idle_and_is_not_any_more_does_not_end() {
        let shared = Arc::new(Shared::new(Settings::default()));
        shared.set_phase(Phase::Running);
        let idle = Duration::from_nanos(1);
        while shared.idle_for().is_none_or(|so_far| so_far <= idle) {}
        // Somebody comes while it is asked for its instances.
        let lease = shared.lease().expect("it runs");
        assert!(!shared.end_if_idle(idle));
        assert_eq!(shared.phase(), Phase::Running);
        drop(lease);
        assert!(!shared.end_if_idle(Duration::from_secs(3600)), "it begins anew");
        assert_eq!(shared.phase(), Phase::Running);
        while !shared.end_if_idle(idle) {}
        assert_eq!(shared.phase(), Phase::Stopping);
        assert!(shared.lease().is_none(), "who comes now waits for the next one");
    }

    #[test]
    fn an_end_that_was_asked_for_is_not_undone_by_a_boot() {
        let shared = Shared::new(Settings::default());
        shared.ask_for_end();
        shared.set_phase(Phase::Running);
        assert_eq!(shared.phase(), Phase::Stopping);
        assert!(!shared.may_restart());
    }
}
