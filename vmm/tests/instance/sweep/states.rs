//! Every register, and every field of a queue's rings, in every state of its device.

use kiln_vmm::virtio::transport::layout::REGISTERS;
use kiln_vmm::virtio::transport::{ACKNOWLEDGE, DEVICE_NEEDS_RESET, DRIVER, FAILED, FEATURES_OK};

use super::{QUEUES, RUNNING, SIZE, Sweep, bar, edges, rings};
use crate::micro::Access::{Await, Read};

/// Features are agreed upon.
const AGREED: u8 = ACKNOWLEDGE | DRIVER | FEATURES_OK;
/// Of each device a queue that it looks at as soon as it runs.
const SERVED: [u16; 5] = [0, 0, 1, 1, 0];

/// The states of a device.
const STATES: [State; 8] = [
    State::Status(0),
    State::Status(ACKNOWLEDGE),
    State::Status(ACKNOWLEDGE | DRIVER),
    State::Status(AGREED),
    State::Enabled,
    State::Status(RUNNING),
    State::Status(RUNNING | FAILED),
    State::NeedsReset,
];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// These bits of its status.
    Status(u8),
    /// Features are agreed upon, and every queue is enabled.
    Enabled,
    /// It runs, and one of its queues was broken.
    NeedsReset,
}

/// The fields of a queue's rings, from its table on, with their sizes: flags, index, the first entry, when to interrupt;
/// flags, index, the first entry, when to kick.
const RING_FIELDS: [(u32, usize); 9] = [
    (0x1000, 2),
    (0x1002, 2),
    (0x1004, 2),
    (0x1004 + 2 * SIZE, 2),
    (0x2000, 2),
    (0x2002, 2),
    (0x2004, 4),
    (0x2008, 4),
    (0x2004 + 8 * SIZE, 2),
];

impl Sweep {
    fn bring(&mut self, device: usize, state: State) {
        match state {
            State::Status(status) => self.reach(device, status),
            State::Enabled => {
                self.reach(device, AGREED);
                (0..QUEUES[device]).for_each(|queue| self.enable(device, queue));
            }
            State::NeedsReset => {
                self.reach(device, RUNNING);
                // More than the queue holds.
                let queue = SERVED[device];
                self.write(rings(device, queue) + 0x1002, 2, 0x7fff);
                self.kick(device, queue);
                self.push(Await(bar(device) + 20, RUNNING | DEVICE_NEEDS_RESET));
            }
        }
    }

    /// Every register of every device in every state, and its halves where it has such.
    pub(crate) fn registers(&mut self) {
        for device in 0..QUEUES.len() {
            for state in STATES {
                for (offset, width, _) in REGISTERS {
                    self.bring(device, state);
                    self.tried.insert((device, state, None, offset as u32));
                    let at = bar(device) + offset as u32;
                    self.try_all(at, width);
                    if width == 8 {
                        self.try_all(at, 4);
                        self.try_all(at + 4, 4);
                    }
                    self.kick(device, 0);
                }
            }
            self.reach(device, 0);
        }
    }

    /// Every field of the rings of every queue in every state, each value with a kick.
    pub(crate) fn rings(&mut self) {
        for (device, queues) in QUEUES.into_iter().enumerate() {
            for (queue, state) in (0..queues).flat_map(|queue| STATES.map(|state| (queue, state))) {
                for (field, size) in RING_FIELDS {
                    self.bring(device, state);
                    self.tried.insert((device, state, Some(queue), field));
                    let at = rings(device, queue);
                    if device == 0 {
                        self.request();
                    }
                    for value in edges(size) {
                        // A request, if it is not the field that says so.
                        self.write(at + 0x1002, 2, 1);
                        self.write(at + field, size, value);
                        self.kick(device, queue);
                    }
                    self.push(Read(bar(device) + 20, 1));
                }
            }
            self.reach(device, 0);
        }
    }

    /// Nothing that has an offset was left out, of no device, in no state.
    pub(crate) fn is_whole(&self) {
        let queues: u16 = QUEUES.iter().sum();
        let rings = usize::from(queues) * RING_FIELDS.len();
        let registers = QUEUES.len() * REGISTERS.len();
        assert_eq!(self.tried.len(), STATES.len() * (registers + rings));
    }
}
