//! The console's thread: moves bytes between rings and ports.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::control::{Control, MESSAGE, Message};
use super::{ConsoleState, MULTIPORT, Port, PortRole};
use crate::virtio::worker::{borrow, drain};
use crate::virtio::{Activation, Chain, DeviceError, QueueError, QueueState, Stop, Task, VirtQueue};

/// Bytes moved at once for one port, before the others have their turn.
const CHUNK: usize = 16 << 10;
/// Control messages handled before the ports have their turn.
const MESSAGES: usize = 32;

const CONTROL_RECEIVE: usize = 2;
const CONTROL_TRANSMIT: usize = 3;

#[derive(Debug)]
pub(super) struct ConsoleTask {
    ports: Arc<[Port]>,
    control: Control,
    queues: Vec<Option<VirtQueue>>,
    kicks: Vec<EventFd>,
    multiport: bool,
    scratch: Vec<u8>,
}

/// Whether a step found something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Some,
    None,
}

impl ConsoleTask {
    pub(super) fn new(
        ports: Arc<[Port]>,
        mut control: Control,
        activation: Activation,
    ) -> Result<Self, DeviceError> {
        let Activation {
            queues,
            kicks,
            features,
            ..
        } = activation;
        let multiport = features & MULTIPORT != 0;
        let needed = if multiport { 0..4 } else { 0..2 };
        for index in needed {
            if queues.get(index).is_none_or(Option::is_none) {
                return Err(DeviceError::QueueMissing(index as u16));
            }
        }
        if !multiport && let Some(port) = control.ports.first_mut() {
            // Without control messages port 0 is in use from the start (5.3.5).
            (port.ready, port.open) = (true, true);
        }
        Ok(Self {
            ports,
            control,
            queues,
            kicks,
            multiport,
            scratch: vec![0; CHUNK],
        })
    }

    /// Does one round; whether there was something to do.
    #[cfg(fuzzing)]
    pub(super) fn is_busy(&mut self) -> bool {
        self.round() == Progress::Some
    }

    pub(super) fn queues(&self) -> Vec<Option<QueueState>> {
        self.queues
            .iter()
            .map(|queue| queue.as_ref().map(VirtQueue::state))
            .collect()
    }

    pub(super) fn state(&self) -> ConsoleState {
        self.control.state()
    }

    /// Receive queue of port 0 is 0, of port *n* 2 + 2*n*; the transmit queue is the next (5.3.2).
    fn receive_queue(port: usize) -> usize {
        if port == 0 { 0 } else { 2 + 2 * port }
    }

    /// One round over everything. Errors of one queue were told to the driver and end that queue only.
    fn round(&mut self) -> Progress {
        let mut progress = Progress::None;
        let mut note = |result: Result<Progress, QueueError>| {
            if matches!(result, Ok(Progress::Some)) {
                progress = Progress::Some;
            }
        };
        if self.multiport {
            note(self.hear_control());
            self.control.resize(&self.ports);
            note(self.say_control());
        }
        let ports = if self.multiport { self.ports.len() } else { 1 };
        for port in 0..ports {
            note(self.move_out(port));
            note(self.move_in(port));
        }
        progress
    }

    /// Messages of the guest.
    fn hear_control(&mut self) -> Result<Progress, QueueError> {
        let Some(queue) = self.queues.get_mut(CONTROL_TRANSMIT).and_then(Option::as_mut) else {
            return Ok(Progress::None);
        };
        let mut progress = Progress::None;
        for _ in 0..MESSAGES {
            if !self.control.has_room() {
                break;
            }
            let Some(chain) = queue.pop_or_rearm()? else {
                break;
            };
            progress = Progress::Some;
            let mut bytes = [0; MESSAGE];
            let read = chain.read_at(queue.memory(), 0, &mut bytes);
            queue.complete(&chain, 0)?;
            if let Err(error) = read {
                queue.breaks(&error);
                return Err(error);
            }
            self.control.handle(Message::parse(bytes), &self.ports);
        }
        if progress == Progress::Some {
            queue.notify()?;
        }
        Ok(progress)
    }

    /// Messages for the guest, as long as it lends buffers.
    fn say_control(&mut self) -> Result<Progress, QueueError> {
        let Some(queue) = self.queues.get_mut(CONTROL_RECEIVE).and_then(Option::as_mut) else {
            return Ok(Progress::None);
        };
        let mut progress = Progress::None;
        while let Some(message) = self.control.next() {
            let Some(chain) = queue.pop_or_rearm()? else {
                break;
            };
            progress = Progress::Some;
            let bytes = message.bytes(&self.ports);
            give(queue, &chain, &bytes)?;
            self.control.sent();
        }
        if progress == Progress::Some {
            queue.notify()?;
        }
        Ok(progress)
    }

    /// Bytes that the guest wrote to a port, at most [`CHUNK`].
    fn move_out(&mut self, index: usize) -> Result<Progress, QueueError> {
        let transmit = Self::receive_queue(index) + 1;
        let (Some(queue), Some(port), Some(state)) = (
            self.queues.get_mut(transmit).and_then(Option::as_mut),
            self.ports.get(index),
            self.control.ports.get_mut(index),
        ) else {
            return Ok(Progress::None);
        };
        let Some(chain) = queue.pop_or_rearm()? else {
            return Ok(Progress::None);
        };
        let left = chain.readable_len().saturating_sub(state.taken);
        let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let bytes = &mut self.scratch[..count];
        if let Err(error) = chain.read_at(queue.memory(), state.taken, bytes) {
            state.taken = 0;
            queue.complete(&chain, 0)?;
            queue.breaks(&error);
            return Err(error);
        }
        let accepted = port.backend().guest_wrote(bytes).min(count);
        state.taken += accepted as u64;
        if state.taken >= chain.readable_len() {
            state.taken = 0;
            queue.complete(&chain, 0)?;
            queue.notify()?;
            return Ok(Progress::Some);
        }
        // The rest stays the guest's until the backend takes it.
        queue.put_back(chain);
        Ok(if accepted > 0 {
            Progress::Some
        } else {
            Progress::None
        })
    }

    /// Bytes of the host for a port, one buffer of the guest.
    fn move_in(&mut self, index: usize) -> Result<Progress, QueueError> {
        let (Some(queue), Some(port), Some(state)) = (
            self.queues
                .get_mut(Self::receive_queue(index))
                .and_then(Option::as_mut),
            self.ports.get(index),
            self.control.ports.get(index),
        ) else {
            return Ok(Progress::None);
        };
        // A stream must not lose its beginning to a guest that does not listen yet; a terminal may.
        let listens = state.open || state.ready && port.role() == PortRole::Console;
        if !listens || port.input().len() == 0 {
            return Ok(Progress::None);
        }
        let Some(chain) = queue.pop_or_rearm()? else {
            return Ok(Progress::None);
        };
        let room = usize::try_from(chain.writable_len()).unwrap_or(CHUNK).min(CHUNK);
        let bytes = &mut self.scratch[..room];
        let count = port.input().peek(bytes);
        give(queue, &chain, &bytes[..count])?;
        queue.notify()?;
        port.took_input(count);
        Ok(Progress::Some)
    }
}

/// Writes `bytes` into a chain and gives it back.
fn give(queue: &mut VirtQueue, chain: &Chain, bytes: &[u8]) -> Result<(), QueueError> {
    match chain.write_at(queue.memory(), 0, bytes) {
        Ok(()) => queue.complete(chain, u32::try_from(bytes.len()).unwrap_or(0)),
        Err(error) => {
            queue.complete(chain, 0)?;
            queue.breaks(&error);
            Err(error)
        }
    }
}

impl Task for ConsoleTask {
    fn run(&mut self, stop: &Stop) {
        loop {
            while self.round() == Progress::Some {
                if stop.is_set() {
                    return;
                }
            }
            let wakes = self.ports.iter().map(|port| port.input().event());
            let events: Vec<&EventFd> = self.kicks.iter().chain(wakes).collect();
            let sources: Vec<BorrowedFd<'_>> = events.iter().map(|event| borrow(event)).collect();
            let Some(ready) = stop.wait(&sources, None) else {
                return;
            };
            for (bit, event) in events.iter().enumerate() {
                if ready >> bit & 1 != 0 {
                    drain(event);
                }
            }
        }
    }
}
