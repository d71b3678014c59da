//! Control messages (5.3.6.2): what the guest and the device tell each other about ports.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::VecDeque;

use super::{ConsoleState, MAX_PORTS, Port, PortOpen, PortRole, PortState};

/// Messages kept while the guest lends no buffer. Each message of the guest is answered by at most
/// [`MAX_PORTS`] ones, and the guest is not listened to while there is not room for that many.
pub(super) const MAX_PENDING: usize = 4 * MAX_PORTS;

const DEVICE_READY: u16 = 0;
const DEVICE_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const CONSOLE_PORT: u16 = 4;
const RESIZE: u16 = 5;
const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;

/// Bytes of `struct virtio_console_control`: id, event, value.
pub(super) const MESSAGE: usize = 8;

/// A message without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) port: u32,
    pub(super) event: u16,
    pub(super) value: u16,
}

impl Message {
    pub(super) fn parse(bytes: [u8; MESSAGE]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self {
            port: u32::from_le_bytes([a, b, c, d]),
            event: u16::from_le_bytes([e, f]),
            value: u16::from_le_bytes([g, h]),
        }
    }

    /// The bytes on the wire; a port's name follows the message that gives it, a size that of a resize.
    pub(super) fn bytes(self, ports: &[Port]) -> Vec<u8> {
        let mut bytes = self.port.to_le_bytes().to_vec();
        bytes.extend(self.event.to_le_bytes());
        bytes.extend(self.value.to_le_bytes());
        let port = usize::try_from(self.port).ok().and_then(|index| ports.get(index));
        if self.event == RESIZE {
            // Columns first (5.3.6.2). Linux read them the other way round until it was mended, in its stable
            // releases, too: a kernel from before takes one for the other.
            let size = port.and_then(|port| port.input().size());
            for count in size.map_or([0; 2], |size| [size.cols, size.rows]) {
                bytes.extend(count.to_le_bytes());
            }
        }
        if self.event == PORT_NAME {
            bytes.extend(port.and_then(Port::name).unwrap_or_default().as_bytes());
        }
        bytes
    }
}

/// What was said and what is still to be said.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) ports: Vec<PortState>,
    pending: VecDeque<Message>,
}

impl Control {
    pub(super) fn new(ports: usize, state: &ConsoleState) -> Self {
        let mut known = state.ports.clone();
        known.resize(ports, PortState::default());
        let message = |&(port, event, value)| Message { port, event, value };
        Self {
            ports: known,
            pending: state.pending.iter().map(message).collect(),
        }
    }

    /// True if the answers to one more message of the guest have room.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() <= MAX_PENDING.saturating_sub(MAX_PORTS)
    }

    pub(super) fn next(&self) -> Option<Message> {
        self.pending.front().copied()
    }

    pub(super) fn sent(&mut self) {
        self.pending.pop_front();
    }

    pub(super) fn state(&self) -> ConsoleState {
        ConsoleState {
            ports: self.ports.clone(),
            pending: self.pending.iter().map(|m| (m.port, m.event, m.value)).collect(),
        }
    }

    /// Answers a message of the guest. One that makes no sense is ignored, as a real device would: the
    /// specification names no error for it.
    pub(super) fn handle(&mut self, message: Message, ports: &[Port]) {
        if message.event == DEVICE_READY {
            // 5.3.5.1: the ports are announced; a value of 0 says that the driver failed.
            if message.value == 1 {
                for port in (0..).take(ports.len()) {
                    self.say(port, DEVICE_ADD, 0);
                }
            }
            return;
        }
        let Ok(index) = usize::try_from(message.port) else {
            return;
        };
        let (Some(state), Some(port)) = (self.ports.get_mut(index), ports.get(index)) else {
            return;
        };
        match message.event {
            PORT_READY if message.value == 1 => {
                state.ready = true;
                if port.role() == PortRole::Console {
                    self.say(message.port, CONSOLE_PORT, 1);
                    // The present size is all that there is to tell.
                    port.input().take_resized();
                    if port.input().size().is_some() {
                        self.say(message.port, RESIZE, 0);
                    }
                }
                if port.name().is_some() {
                    self.say(message.port, PORT_NAME, 1);
                }
                // The host's side is always there.
                self.say(message.port, PORT_OPEN, 1);
            }
            PORT_READY => state.ready = false,
            PORT_OPEN => {
                let open = message.value != 0;
                if std::mem::replace(&mut state.open, open) == open {
                    return;
                }
                if open {
                    port.backend().guest_opened(PortOpen::Open);
                } else {
                    port.closed();
                }
            }
            _ => {}
        }
    }

    /// Tells the guest of sizes that changed since the last round.
    pub(super) fn resize(&mut self, ports: &[Port]) {
        for (number, port) in (0..).zip(ports) {
            let is_ready = usize::try_from(number)
                .ok()
                .and_then(|index| self.ports.get(index))
                .is_some_and(|state| state.ready);
            // One that is not ready is told when it is.
            if port.input().take_resized() && is_ready && port.role() == PortRole::Console {
                self.say(number, RESIZE, 0);
            }
        }
    }

    fn say(&mut self, port: u32, event: u16, value: u16) {
        if self.pending.len() < MAX_PENDING {
            self.pending.push_back(Message { port, event, value });
        }
    }
}
