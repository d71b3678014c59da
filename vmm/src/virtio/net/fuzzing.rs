//! The way in for the fuzz target: a card's turns over a hostile driver's rings and a hostile stream, on the calling
//! thread.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::link::Link;
use super::task::NetTask;
use super::{Card, MacAddress};
use crate::virtio::{Activation, DeviceError};

/// Starts a card with this address and lets it have turns while there is something to do, at most so many; how many
/// frames came and went.
///
/// # Errors
/// The driver lacks queues.
pub fn serve_turns(
    activation: Activation,
    mac: MacAddress,
    socket: OwnedFd,
    turns: usize,
) -> Result<usize, DeviceError> {
    let link = Arc::new(Link::new(socket));
    let mut task = NetTask::new(activation, Card { mac, mtu: None }, Arc::clone(&link))?;
    let used = |task: &NetTask| -> Vec<u16> {
        let queues = task.queues().into_iter().flatten();
        queues.map(|queue| queue.next_used).collect()
    };
    let before = used(&task);
    let mut stream = link.stream.lock();
    for _ in 0..turns {
        if !task.is_busy(&mut stream) {
            break;
        }
    }
    let moved = before.iter().zip(used(&task));
    Ok(moved
        .map(|(before, now)| usize::from(now.wrapping_sub(*before)))
        .sum())
}
