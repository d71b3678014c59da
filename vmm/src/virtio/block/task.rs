//! The threads of a block device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_imagefmt::Disk;
use vmm_sys_util::eventfd::EventFd;

use super::gate::{BlockGate, Passage};
use super::request::{Failure, Serial, Target};
use crate::virtio::worker::{borrow, drain};
use crate::virtio::{Chain, Guarded, GuestMemory, QueueError, QueueState, Stop, Task, VirtQueue};

/// Least time between two messages about failed requests of one device: a guest, or a full disk under
/// it, makes as many as it likes.
const QUIET: Duration = Duration::from_secs(1);

/// What the threads of a device share.
///
/// Lock order: `turn`, then the gate, then a line's queue.
#[derive(Debug)]
pub(super) struct Intake {
    /// Held by the one thread that waits for the next request: the line that it looks at first.
    turn: Guarded<usize>,
    /// Those that the driver enabled, in their order.
    lines: Vec<Line>,
    last_message: Guarded<Option<Instant>>,
}

/// A queue, and what says that something was put into it.
#[derive(Debug)]
pub(super) struct Line {
    index: usize,
    queue: Guarded<VirtQueue>,
    kick: EventFd,
}

/// A request that was taken, and through which gate it went.
struct Taken<'a> {
    line: &'a Line,
    chain: Chain,
    passage: Passage<'a>,
}

impl Intake {
    /// The queues that the driver enabled, each with its kick.
    pub(super) fn new(queues: Vec<Option<VirtQueue>>, kicks: Vec<EventFd>) -> Self {
        let lines = queues.into_iter().zip(kicks).enumerate();
        let line = |(index, (queue, kick)): (usize, (Option<VirtQueue>, EventFd))| {
            Some(Line {
                index,
                queue: Guarded::new(queue?),
                kick,
            })
        };
        Self {
            turn: Guarded::new(0),
            lines: lines.filter_map(line).collect(),
            last_message: Guarded::new(None),
        }
    }

    /// How far each of `count` queues is.
    pub(super) fn states(&self, count: usize) -> Vec<Option<QueueState>> {
        let state = |index| {
            let line = self.lines.iter().find(|line| line.index == index)?;
            Some(line.queue.lock().state())
        };
        (0..count).map(state).collect()
    }

    /// Waits for a request and takes it through the gate; `None` when the thread shall stop.
    fn next<'a>(&'a self, gate: &'a BlockGate, stop: &Stop) -> Option<Taken<'a>> {
        let mut turn = self.turn.lock();
        loop {
            if stop.is_set() {
                return None;
            }
            let passage = gate.pass(stop)?;
            if let Some((line, chain)) = self.pop(&mut turn) {
                return Some(Taken { line, chain, passage });
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

    /// The next request of any queue, each in its turn; or none, and kicks to come from all.
    fn pop(&self, turn: &mut usize) -> Option<(&Line, Chain)> {
        let (before, after) = self.lines.split_at_checked(*turn).unwrap_or((&[], &self.lines));
        let in_turn = || after.iter().chain(before);
        let found = in_turn()
            .find_map(|line| Some((line, line.pop()?)))
            // What was put in since the look at a queue was announced by no kick.
            .or_else(|| in_turn().find_map(|line| Some((line, line.pop_or_rearm()?))))?;
        let place = self.lines.iter().position(|line| std::ptr::eq(line, found.0));
        *turn = place.map_or(0, |place| place + 1);
        Some(found)
    }

    fn report(&self, failure: &Failure) {
        let mut last = self.last_message.lock();
        if last.is_none_or(|at| at.elapsed() >= QUIET) {
            *last = Some(Instant::now());
            tracing::warn!(error = %failure, "block request failed");
        }
    }
}

impl Line {
    /// The next request. Errors were told to the driver; the queue is empty from then on.
    fn pop(&self) -> Option<Chain> {
        self.queue.lock().pop().unwrap_or(None)
    }

    /// Asks for a kick at the next request; or there is one already.
    fn pop_or_rearm(&self) -> Option<Chain> {
        let mut queue = self.queue.lock();
        if queue.rearm().unwrap_or(false) {
            queue.pop().unwrap_or(None)
        } else {
            None
        }
    }

    fn complete(&self, chain: &Chain, written: u32) {
        let mut queue = self.queue.lock();
        if queue
            .complete(chain, written)
            .and_then(|()| queue.notify())
            .is_err()
        {
            // Told to the driver already.
        }
    }

    fn breaks(&self, chain: &Chain, error: &QueueError) {
        let mut queue = self.queue.lock();
        let _ = queue.complete(chain, 0);
        queue.breaks(error);
    }
}

/// One thread's share of a started block device.
pub(super) struct BlockTask {
    pub(super) intake: Arc<Intake>,
    pub(super) gate: Arc<BlockGate>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) memory: GuestMemory,
    pub(super) serial: Serial,
    pub(super) read_only: bool,
    pub(super) write_through: bool,
}

impl Task for BlockTask {
    fn run(&mut self, stop: &Stop) {
        while let Some(Taken { line, chain, passage }) = self.intake.next(&self.gate, stop) {
            let target = Target {
                disk: self.disk.as_ref(),
                memory: &self.memory,
                serial: &self.serial,
                traffic: &self.gate.traffic,
                read_only: self.read_only,
                write_through: self.write_through,
            };
            let mut passage = Some(passage);
            match target.serve(&chain, &mut passage) {
                Ok(outcome) => {
                    if let Some(failure) = &outcome.failure {
                        self.intake.report(failure);
                    }
                    line.complete(&chain, outcome.written);
                }
                Err(error) => line.breaks(&chain, &error),
            }
            drop(passage);
        }
    }
}
