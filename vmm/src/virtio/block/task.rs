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
/// Lock order: `turn`, then the gate, then `queue`.
#[derive(Debug)]
pub(super) struct Intake {
    /// Held by the one thread that waits for the next request.
    turn: Guarded<()>,
    queue: Guarded<VirtQueue>,
    kick: EventFd,
    last_message: Guarded<Option<Instant>>,
}

impl Intake {
    pub(super) fn new(queue: VirtQueue, kick: EventFd) -> Self {
        Self {
            turn: Guarded::new(()),
            queue: Guarded::new(queue),
            kick,
            last_message: Guarded::new(None),
        }
    }

    pub(super) fn state(&self) -> QueueState {
        self.queue.lock().state()
    }

    /// Waits for a request and takes it through the gate; `None` when the thread shall stop.
    fn next<'g>(&self, gate: &'g BlockGate, stop: &Stop) -> Option<(Chain, Passage<'g>)> {
        let _turn = self.turn.lock();
        loop {
            if stop.is_set() {
                return None;
            }
            let passage = gate.pass(stop)?;
            if let Some(chain) = self.pop() {
                return Some((chain, passage));
            }
            drop(passage);
            stop.wait(&[borrow(&self.kick)], None)?;
            drain(&self.kick);
        }
    }

    /// The next request, or none and a kick to come.
    fn pop(&self) -> Option<Chain> {
        let mut queue = self.queue.lock();
        // Errors were told to the driver; the queue is empty from then on.
        match queue.pop() {
            Ok(None) if queue.rearm().unwrap_or(false) => queue.pop().unwrap_or(None),
            Ok(chain) => chain,
            Err(_) => None,
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

    fn report(&self, failure: &Failure) {
        let mut last = self.last_message.lock();
        if last.is_none_or(|at| at.elapsed() >= QUIET) {
            *last = Some(Instant::now());
            tracing::warn!(error = %failure, "block request failed");
        }
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
        while let Some((chain, passage)) = self.intake.next(&self.gate, stop) {
            let target = Target {
                disk: self.disk.as_ref(),
                memory: &self.memory,
                serial: &self.serial,
                traffic: &self.gate.traffic,
                read_only: self.read_only,
                write_through: self.write_through,
            };
            match target.serve(&chain) {
                Ok(outcome) => {
                    if let Some(failure) = &outcome.failure {
                        self.intake.report(failure);
                    }
                    self.intake.complete(&chain, outcome.written);
                }
                Err(error) => self.intake.breaks(&chain, &error),
            }
            drop(passage);
        }
    }
}
