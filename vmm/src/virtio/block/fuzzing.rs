//! The way in for the fuzz target: the requests of a hostile driver's ring, on the calling thread.

use kiln_imagefmt::Disk;

use super::config::FLUSH;
use super::request::{AtOnce, Serial, Target};
use super::traffic::Traffic;
use crate::virtio::VirtQueue;

/// Serves all requests that `queue` has now, as the threads of a started device do.
pub fn serve_all(disk: &dyn Disk, queue: &mut VirtQueue, features: u64) {
    let memory = queue.memory().clone();
    let target = Target {
        disk,
        memory: &memory,
        traffic: &Traffic::default(),
        serial: &Serial::of_volume("vol-0123456789abcdef0"),
        read_only: disk.is_read_only(),
        write_through: features & FLUSH == 0,
    };
    while let Ok(Some(chain)) = queue.pop() {
        if let AtOnce::All(outcome) = target.at_once(&chain) {
            if queue.complete(&chain, outcome.written).is_err() {
                return;
            }
            continue;
        }
        let done = match target.serve(&chain, &mut None) {
            Ok(outcome) => queue.complete(&chain, outcome.written),
            Err(error) => {
                queue.breaks(&error);
                Ok(())
            }
        };
        if done.and_then(|()| queue.notify()).is_err() {
            return;
        }
    }
}
