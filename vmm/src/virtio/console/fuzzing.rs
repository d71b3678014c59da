//! The way in for the fuzz target: a console's rounds over a hostile driver's rings, on the calling thread.

use super::task::ConsoleTask;
use super::{Console, Port};
use crate::virtio::{Activation, DeviceError};

/// Starts a console of `ports` and lets it do at most `rounds` rounds; how many it had something to do in.
///
/// # Errors
/// The driver lacks queues.
pub fn serve_rounds(ports: Vec<Port>, activation: Activation, rounds: usize) -> Result<usize, DeviceError> {
    let mut task: ConsoleTask = Console::new(ports, std::sync::Arc::new(()))?.task(activation)?;
    Ok((0..rounds).take_while(|_| task.is_busy()).count())
}
