//! The balloon's thread: gives back what the driver names.

use std::os::fd::BorrowedFd;

use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

use super::pages::{Range, numbered, reported};
use super::{QUEUE_SIZE, REPORTING};
use crate::memory::{self, HugePages};
use crate::virtio::worker::{borrow, drain};
use crate::virtio::{Activation, Chain, DeviceError, QueueError, QueueState, Stop, Task, VirtQueue};

/// Bytes that are given back at once: so long a pause waits at most, whatever range the driver names.
const PIECE: u64 = 64 << 20;

/// What a queue is for, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Inflate = 0,
    Deflate = 1,
    Reporting = 2,
}

const ROLES: [Role; 3] = [Role::Inflate, Role::Deflate, Role::Reporting];

/// Whether a queue may hold more requests than were served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Some,
    None,
}

#[derive(Debug)]
pub(super) struct BalloonTask {
    queues: Vec<Option<VirtQueue>>,
    kicks: Vec<EventFd>,
    /// Whether what is named stays with this machine.
    keeps: bool,
}

impl BalloonTask {
    /// # Errors
    /// The driver lacks a queue.
    pub(super) fn new(activation: Activation, pages: HugePages) -> Result<Self, DeviceError> {
        let Activation {
            mut queues,
            kicks,
            features,
            ..
        } = activation;
        for index in [0, 1] {
            if queues.get(usize::from(index)).is_none_or(Option::is_none) {
                return Err(DeviceError::QueueMissing(index));
            }
        }
        if features & REPORTING == 0 {
            queues.truncate(Role::Reporting as usize);
        }
        Ok(Self {
            queues,
            kicks,
            keeps: pages.are_of_pool(),
        })
    }

    pub(super) fn queues(&self) -> Vec<Option<QueueState>> {
        self.queues
            .iter()
            .map(|queue| queue.as_ref().map(VirtQueue::state))
            .collect()
    }

    /// One turn of every queue; whether there may be more to do. An error of one was told to the driver, and ends that
    /// queue only.
    pub(super) fn is_busy(&mut self, stop: &Stop) -> bool {
        ROLES.into_iter().fold(false, |busy, role| {
            busy | (self.serve(role, stop) == Ok(Rest::Some))
        })
    }

    /// Serves as many requests of a queue as fit into it, before the others have their turn.
    fn serve(&mut self, role: Role, stop: &Stop) -> Result<Rest, Broken> {
        for _ in 0..QUEUE_SIZE {
            let Some(queue) = self.queues.get_mut(role as usize).and_then(Option::as_mut) else {
                return Ok(Rest::None);
            };
            let Some(chain) = queue.pop_or_rearm()? else {
                return Ok(Rest::None);
            };
            let named = named(role, queue, &chain);
            if let Ok(ranges) = &named
                && role != Role::Deflate
            {
                // Before the driver is told: from then on it may use what it named.
                ranges
                    .iter()
                    .for_each(|range| give_back(queue, *range, &mut self.keeps, stop));
            }
            // Nothing is written, and there is no status to say what was wrong.
            queue.complete(&chain, 0)?;
            if let Err(error) = named {
                queue.breaks(&error);
                return Err(Broken);
            }
            queue.notify()?;
            if stop.is_set() {
                break;
            }
        }
        Ok(Rest::Some)
    }
}

/// A driver broke its queue, and was told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;

impl From<QueueError> for Broken {
    fn from(_: QueueError) -> Self {
        Self
    }
}

/// What a request names, all of it guest memory.
fn named(role: Role, queue: &VirtQueue, chain: &Chain) -> Result<Vec<Range>, QueueError> {
    match role {
        Role::Inflate | Role::Deflate => numbered(queue.memory(), chain),
        Role::Reporting => reported(queue.memory(), chain),
    }
}

/// Gives the whole pages of `range` back to the host, unless it is to be kept. What is left of it when the task shall
/// stop is kept, too: the driver does not rely on it.
fn give_back(queue: &VirtQueue, range: Range, keeps: &mut bool, stop: &Stop) {
    let range = range.whole();
    let mut done = 0;
    while done < range.len && !*keeps && !stop.is_set() {
        let piece = PIECE.min(range.len - done);
        let start = GuestAddress(range.start.0 + done);
        if let Err(error) = memory::discard(queue.memory(), start, piece) {
            tracing::warn!(%error, "the host takes no memory back: what the guest frees stays in use");
            *keeps = true;
        }
        done += piece;
    }
}

impl Task for BalloonTask {
    fn run(&mut self, stop: &Stop) {
        loop {
            while self.is_busy(stop) {
                if stop.is_set() {
                    return;
                }
            }
            let sources: Vec<BorrowedFd<'_>> = self.kicks.iter().map(borrow).collect();
            let Some(ready) = stop.wait(&sources, None) else {
                return;
            };
            for (bit, kick) in self.kicks.iter().enumerate() {
                if ready >> bit & 1 != 0 {
                    drain(kick);
                }
            }
        }
    }
}
