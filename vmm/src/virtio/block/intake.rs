//! Which thread of a device takes the next request.
//!
//! One thread has the **turn**: it takes requests and waits for them. A request that has to wait for the host's disk it does
//! after it has given the turn to another thread. A read from the host's cache, or a write into it that reads nothing, it
//! does itself: a switch to another thread costs more, and the guest, which is not asked to announce requests meanwhile, puts
//! many in. It is **away** then; if it stays away for long, the next thread takes the turn over. Of requests that are done in
//! a row like that the driver is told together, when there is no other or one that may wait: an interrupt for each would have
//! the guest's vCPU wake, handle one, and take the processor from the thread.
//!
//! ```text
//!  seat: the one thread that is next ──▶ turn: takes requests, waits for kicks ──▶ given up: does a request that may wait
//!                          ▲                 │       ▲
//!                          └── overdue ── away: does a request that hardly ever waits
//! ```

use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::EventFd;

use super::gate::{BlockGate, Passage};
use super::request::Failure;
use crate::virtio::worker::{borrow, drain};
use crate::virtio::{Chain, Guarded, QueueError, QueueState, Stop, VirtQueue};

/// Least time between two messages about failed requests of one device: a guest, or a full disk under
/// it, makes as many as it likes.
const QUIET: Duration = Duration::from_secs(1);

/// How long the thread that has the turn may be away with it: another that is free takes it over before twice that.
pub(super) const PATIENCE: Duration = Duration::from_millis(1);

/// Bytes of requests done in a row of which the driver is told at the latest: those of 32 pages.
const IN_A_ROW: u64 = 128 << 10;

/// What the threads of a device share.
///
/// Lock order: `seat`, `turn`, then the gate, then a line's queue. Who has passed the gate waits for neither `seat` nor
/// `turn`.
#[derive(Debug)]
pub(super) struct Intake {
    /// Held by the one thread that is next.
    seat: Guarded<()>,
    /// Held by the thread that has the turn, but while it is away.
    turn: Guarded<Turn>,
    /// For the thread that is next while another is away.
    given_up: Condvar,
    /// Those that the driver enabled, in their order.
    lines: Vec<Line>,
    last_message: Guarded<Option<Instant>>,
}

/// Who takes the next request.
#[derive(Debug, Default)]
struct Turn {
    /// The line that is looked at first.
    place: usize,
    /// How often a thread went away.
    trips: u64,
    /// The trip that the thread which has the turn is on.
    away: Option<u64>,
    /// Whether the thread that is next looks how long that is.
    watched: bool,
}

/// The time that a thread is away with the turn.
#[derive(Debug)]
pub(super) struct Trip(u64);

/// A queue, and what says that something was put into it.
#[derive(Debug)]
pub(super) struct Line {
    index: usize,
    served: Guarded<Served>,
    kick: EventFd,
}

/// How far a queue is.
#[derive(Debug)]
struct Served {
    queue: VirtQueue,
    /// Bytes of the requests that were completed and that the driver was not told of.
    untold: u64,
}

/// A request that was taken, and through which gate it went.
pub(super) struct Taken<'a> {
    pub(super) line: &'a Line,
    pub(super) chain: Chain,
    pub(super) passage: Passage<'a>,
}

impl Intake {
    /// The queues that the driver enabled, each with its kick.
    pub(super) fn new(queues: Vec<Option<VirtQueue>>, kicks: Vec<EventFd>) -> Self {
        let lines = queues.into_iter().zip(kicks).enumerate();
        let line = |(index, (queue, kick)): (usize, (Option<VirtQueue>, EventFd))| {
            Some(Line {
                index,
                served: Guarded::new(Served {
                    queue: queue?,
                    untold: 0,
                }),
                kick,
            })
        };
        Self {
            seat: Guarded::default(),
            turn: Guarded::default(),
            given_up: Condvar::new(),
            lines: lines.filter_map(line).collect(),
            last_message: Guarded::new(None),
        }
    }

    /// How far each of `count` queues is.
    pub(super) fn states(&self, count: usize) -> Vec<Option<QueueState>> {
        let state = |index| {
            let line = self.lines.iter().find(|line| line.index == index)?;
            Some(line.served.lock().queue.state())
        };
        (0..count).map(state).collect()
    }

    /// Waits for a request and takes it through the gate; `None` when the thread shall stop. The thread keeps the turn, and
    /// is away with it: it comes back with the trip as soon as the request is done, or gives it up before it does it.
    pub(super) fn next<'a>(
        &'a self,
        gate: &'a BlockGate,
        stop: &Stop,
        trip: Option<Trip>,
    ) -> Option<(Taken<'a>, Trip)> {
        let mut turn = match trip.and_then(|trip| self.come_back(&trip)) {
            Some(turn) => turn,
            None => {
                // Who has the turn may be waiting for a kick.
                self.tell();
                self.wait_for_turn(stop)?
            }
        };
        loop {
            if stop.is_set() {
                return None;
            }
            let passage = match gate.pass_if_open() {
                Some(passage) => passage,
                None => {
                    self.tell();
                    gate.pass(stop)?
                }
            };
            if let Some((line, chain)) = self.pop(&mut turn.place) {
                let trip = turn.leave();
                return Some((Taken { line, chain, passage }, trip));
            }
            drop(passage);
            let kicks: Vec<_> = self.lines.iter().map(|line| borrow(&line.kick)).collect();
            let ready = stop.wait(&kicks, None)?;
            for (bit, line) in self.lines.iter().enumerate() {
                if ready >> bit & 1 != 0 {
                    drain(&line.kick);
                }
            }
        }
    }

    /// Tells the driver of what was done in a row.
    pub(super) fn tell(&self) {
        self.lines.iter().for_each(|line| line.served.lock().tell());
    }

    /// Leaves the turn to another thread, unless one has taken it over meanwhile; first the driver is told of what was done in
    /// a row.
    ///
    /// Nothing is waited for: whoever has the lock has taken the turn over, and may be waiting for a kick, or before a gate
    /// that is closed and that the caller has passed; or has it for a moment, and then whoever sits down next takes the turn
    /// over when the caller is overdue.
    pub(super) fn give_up(&self, trip: &Trip) {
        self.tell();
        let Some(mut turn) = self.turn.try_lock().filter(|turn| turn.away == Some(trip.0)) else {
            return;
        };
        turn.away = None;
        let is_awaited = turn.watched;
        drop(turn);
        if is_awaited {
            self.given_up.notify_one();
        }
    }

    /// The turn, if no other thread has taken it over meanwhile.
    fn come_back(&self, trip: &Trip) -> Option<MutexGuard<'_, Turn>> {
        // Whoever has the lock may wait for a kick with it, and the driver for its word before it gives one.
        let mut turn = self.turn.try_lock().unwrap_or_else(|| {
            self.tell();
            self.turn.lock()
        });
        if turn.away != Some(trip.0) {
            return None;
        }
        turn.away = None;
        Some(turn)
    }

    /// Waits until no other thread has the turn, or the one that has it is away for too long; `None` when the thread shall
    /// stop.
    fn wait_for_turn(&self, stop: &Stop) -> Option<MutexGuard<'_, Turn>> {
        let _seat = self.seat.lock();
        let mut turn = self.turn.lock();
        while let Some(trip) = turn.away {
            if stop.is_set() {
                return None;
            }
            turn.watched = true;
            let is_away = |turn: &mut Turn| turn.away == Some(trip);
            let waited = self.given_up.wait_timeout_while(turn, PATIENCE, is_away);
            let outcome;
            (turn, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
            turn.watched = false;
            if outcome.timed_out() {
                turn.away = None;
            }
        }
        Some(turn)
    }

    /// The next request of any queue, each in its turn; or none, and kicks to come from all.
    fn pop(&self, place: &mut usize) -> Option<(&Line, Chain)> {
        let (before, after) = self.lines.split_at_checked(*place).unwrap_or((&[], &self.lines));
        let in_turn = || after.iter().chain(before);
        let found = in_turn()
            .find_map(|line| Some((line, line.pop()?)))
            // What was put in since the look at a queue was announced by no kick.
            .or_else(|| in_turn().find_map(|line| Some((line, line.pop_or_rearm()?))))?;
        let taken_from = self.lines.iter().position(|line| std::ptr::eq(line, found.0));
        *place = taken_from.map_or(0, |index| index + 1);
        Some(found)
    }

    pub(super) fn report(&self, failure: &Failure) {
        let mut last = self.last_message.lock();
        if last.is_none_or(|at| at.elapsed() >= QUIET) {
            *last = Some(Instant::now());
            tracing::warn!(error = %failure, "block request failed");
        }
    }
}

impl Turn {
    fn leave(&mut self) -> Trip {
        self.trips = self.trips.wrapping_add(1);
        self.away = Some(self.trips);
        Trip(self.trips)
    }
}

impl Line {
    /// The next request. Errors were told to the driver; the queue is empty from then on.
    fn pop(&self) -> Option<Chain> {
        self.served.lock().queue.pop().unwrap_or(None)
    }

    /// Asks for a kick at the next request; or there is one already. The driver, which has put in no more, is told of what
    /// was done in a row.
    fn pop_or_rearm(&self) -> Option<Chain> {
        let mut served = self.served.lock();
        served.tell();
        if served.queue.rearm().unwrap_or(false) {
            served.queue.pop().unwrap_or(None)
        } else {
            None
        }
    }

    /// Completes a request, and tells the driver.
    pub(super) fn complete(&self, chain: &Chain, written: u32) {
        self.complete_with_those_before(chain, written, u64::MAX);
    }

    /// Completes a request that was done while no other thread could take one: the driver is told of it together with those
    /// that follow.
    pub(super) fn complete_in_a_row(&self, chain: &Chain, written: u32) {
        let len = chain.readable_len().saturating_add(chain.writable_len());
        self.complete_with_those_before(chain, written, len);
    }

    fn complete_with_those_before(&self, chain: &Chain, written: u32, len: u64) {
        let mut served = self.served.lock();
        // An error was told to the driver.
        if served.queue.complete(chain, written).is_ok() {
            served.untold = served.untold.saturating_add(len);
            if served.untold >= IN_A_ROW {
                served.tell();
            }
        }
    }

    pub(super) fn breaks(&self, chain: &Chain, error: &QueueError) {
        let mut served = self.served.lock();
        let _ = served.queue.complete(chain, 0);
        served.queue.breaks(error);
    }
}

impl Served {
    fn tell(&mut self) {
        if std::mem::take(&mut self.untold) > 0 {
            // An error was told to the driver.
            let _ = self.queue.notify();
        }
    }
}
