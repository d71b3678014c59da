//! The way in for the fuzz target: a balloon's turns over a hostile driver's rings, on the calling thread.

use super::task::BalloonTask;
use crate::memory::HugePages;
use crate::virtio::{Activation, DeviceError, Stop};

/// Starts a balloon and lets its queues have turns while there is something to do, at most so many; of how many queues
/// a request was done.
///
/// # Errors
/// The driver lacks queues, or the host gives no descriptor.
pub fn serve_turns(activation: Activation, turns: usize) -> Result<usize, DeviceError> {
    let mut task = BalloonTask::new(activation, HugePages::default())?;
    let stop = Stop::new().map_err(|source| DeviceError::Host {
        what: "event",
        source,
    })?;
    let used = |task: &BalloonTask| -> Vec<_> {
        let queues = task.queues().into_iter().flatten();
        queues.map(|queue| queue.next_used).collect()
    };
    let before = used(&task);
    for _ in 0..turns {
        if !task.is_busy(&stop) {
            break;
        }
    }
    let moved = before
        .iter()
        .zip(used(&task))
        .filter(|(before, now)| *before != now);
    Ok(moved.count())
}
