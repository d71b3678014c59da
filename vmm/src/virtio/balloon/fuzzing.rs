//! The way in for the fuzz target: a balloon's turns over a hostile driver's rings, on the calling thread.

use super::task::BalloonTask;
use crate::memory::HugePages;
use crate::virtio::{Activation, DeviceError, Stop};

/// Starts a balloon and lets its queues have at most `rounds` turns; how many it had something to do in.
///
/// # Errors
/// The driver lacks queues, or the host gives no descriptor.
pub fn serve_rounds(activation: Activation, rounds: usize) -> Result<usize, DeviceError> {
    let mut task = BalloonTask::new(activation, HugePages::default())?;
    let stop = Stop::new().map_err(|source| DeviceError::Host {
        what: "event",
        source,
    })?;
    Ok((0..rounds).take_while(|_| task.is_busy(&stop)).count())
}
