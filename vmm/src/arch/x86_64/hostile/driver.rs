//! A driver that brings its device to any state, and can tell whether it still works.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress};

use super::Target;
use super::request::{Form, Request};
use crate::pci::{PciFunction, Slot};
use crate::virtio::DeviceType;
use crate::virtio::console::TerminalSize;
use crate::virtio::transport::layout::{DOORBELL_STEP, NOTIFY};
use crate::virtio::transport::{
    ACKNOWLEDGE, DEVICE_NEEDS_RESET, DRIVER, DRIVER_OK, FAILED, FEATURES_OK, VirtioPci,
};

/// Where the rings of the first function's first queue are.
const RINGS: u64 = 0x4000;
/// From one queue's rings to the next: table, available and used ring, a page each.
const STEP: u64 = 0x4000;
/// From a queue's table to its available, and to its used ring.
pub(super) const AVAILABLE: u64 = 0x2000;
pub(super) const USED: u64 = 0x3000;
/// Most queues of a function here.
const MOST_QUEUES: u64 = 6;

/// The queue of a console by which its driver tells it of ports (5.3.2).
const CONTROL: u16 = 3;
/// That the driver is ready, port 0 is, and port 1 is open (5.3.6.2): port, event, value.
const LISTENING: [[u8; 8]; 3] = [
    [0, 0, 0, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 3, 0, 1, 0],
    [1, 0, 0, 0, 6, 0, 1, 0],
];

/// A state that a driver can bring a device to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Reset,
    Acknowledged,
    Known,
    Agreed,
    /// Features are agreed upon, and every queue is enabled.
    Enabled,
    Running,
    Failed,
    NeedsReset,
}

pub(super) const STATES: [State; 8] = [
    State::Reset,
    State::Acknowledged,
    State::Known,
    State::Agreed,
    State::Enabled,
    State::Running,
    State::Failed,
    State::NeedsReset,
];

impl State {
    pub(super) fn status(self) -> u8 {
        let agreed = ACKNOWLEDGE | DRIVER | FEATURES_OK;
        match self {
            Self::Reset => 0,
            Self::Acknowledged => ACKNOWLEDGE,
            Self::Known => ACKNOWLEDGE | DRIVER,
            Self::Agreed | Self::Enabled => agreed,
            Self::Running => agreed | DRIVER_OK,
            Self::Failed => agreed | DRIVER_OK | FAILED,
            Self::NeedsReset => agreed | DRIVER_OK | DEVICE_NEEDS_RESET,
        }
    }
}

/// Who drives one function.
pub(super) struct Driver<'t> {
    pub(super) target: &'t Target,
    pub(super) index: u64,
    pub(super) function: &'t VirtioPci,
}

impl Driver<'_> {
    pub(super) fn bar(&self) -> u64 {
        self.function.decoded(0).expect("decoded").0
    }

    pub(super) fn slot(&self) -> Slot {
        Slot::new(self.index as u8 + 1).expect("a slot")
    }

    pub(super) fn device_type(&self) -> DeviceType {
        self.function.with_device(|device| device.device_type())
    }

    pub(super) fn read(&self, offset: u64, len: usize) -> u64 {
        let mut bytes = [0; 8];
        self.target.memory.read(self.bar() + offset, &mut bytes[..len]);
        u64::from_le_bytes(bytes)
    }

    pub(super) fn write(&self, offset: u64, len: usize, value: u64) {
        let bytes = &value.to_le_bytes()[..len];
        self.target.memory.write(self.bar() + offset, bytes);
    }

    pub(super) fn status(&self) -> u8 {
        self.read(20, 1) as u8
    }

    pub(super) fn queues(&self) -> u16 {
        self.read(18, 2) as u16
    }

    pub(super) fn rings(&self, queue: u16) -> u64 {
        RINGS + (self.index * MOST_QUEUES + u64::from(queue)) * STEP
    }

    /// From a reset to `state`.
    pub(super) fn reach(&self, state: State) {
        self.write(20, 1, 0);
        let add = |bit: u8| self.write(20, 1, u64::from(self.status() | bit));
        let agree = |features: u64| {
            for word in 0..2 {
                self.write(8, 4, word);
                self.write(12, 4, features >> (32 * word) & 0xffff_ffff);
            }
        };
        for step in STATES.into_iter().take_while(|step| *step <= state) {
            match step {
                State::Reset => {}
                State::Acknowledged => add(ACKNOWLEDGE),
                State::Known => add(DRIVER),
                State::Agreed => {
                    // All that is offered.
                    let offered = (0..2).map(|word| {
                        self.write(0, 4, word);
                        self.read(4, 4) << (32 * word)
                    });
                    agree(offered.fold(0, |all, word| all | word));
                    add(FEATURES_OK);
                }
                State::Enabled => (0..self.queues()).for_each(|queue| self.enable(queue)),
                State::Running => add(DRIVER_OK),
                State::Failed if state == State::Failed => add(FAILED),
                State::Failed => {}
                State::NeedsReset => self.break_ring(),
            }
        }
        assert_eq!(
            self.status(),
            state.status(),
            "{state:?} of {:?}",
            self.device_type()
        );
    }

    fn enable(&self, queue: u16) {
        self.set_up(queue);
        self.write(28, 2, 1);
    }

    /// Gives `queue`, which is selected now, empty rings.
    pub(super) fn set_up(&self, queue: u16) {
        let at = self.rings(queue);
        for index in [at + AVAILABLE, at + USED] {
            let ram = &self.target.ram;
            ram.write_obj(0u32, GuestAddress(index)).expect("RAM");
        }
        self.write(22, 2, queue.into());
        for (register, part) in [(32, 0), (40, AVAILABLE), (48, USED)] {
            self.write(register, 8, at + part);
        }
    }

    /// Offers more than a queue holds.
    fn break_ring(&self) {
        let queue = self.broken_queue();
        let index = GuestAddress(self.rings(queue) + AVAILABLE + 2);
        self.target.ram.write_obj(0x7fffu16, index).expect("RAM");
        self.kick(queue);
        self.until(|| "broken".to_owned(), || self.status() & DEVICE_NEEDS_RESET != 0);
    }

    /// A queue that the device looks at as soon as it runs: that which is broken in [`State::NeedsReset`].
    pub(super) fn broken_queue(&self) -> u16 {
        match self.device_type() {
            DeviceType::Block | DeviceType::Rng | DeviceType::Balloon => 0,
            DeviceType::Console | DeviceType::Net => 1,
        }
    }

    /// Entries of a queue.
    pub(super) fn size(&self, queue: u16) -> u64 {
        self.write(22, 2, queue.into());
        self.read(24, 2)
    }

    /// Whether a console's driver lends it the buffers of this queue, to be filled.
    pub(super) fn is_lent(queue: u16) -> bool {
        queue.is_multiple_of(2)
    }

    /// From a reset to [`State::Running`], and to where requests to `queue` are done.
    pub(super) fn runs(&self, queue: u16) {
        self.reach(State::Running);
        if self.device_type() != DeviceType::Console || !Self::is_lent(queue) {
            return;
        }
        // It fills the buffers of those who listen: the driver is ready, so is the terminal's port, and the agent's is
        // open.
        let tell = |(n, message): (u16, [u8; 8])| {
            let request = Request::nth(self, CONTROL, n, Form::Direct);
            let at = GuestAddress(request.buffers[0].0);
            self.target.ram.write_slice(&message, at).expect("RAM");
            request.offer(self, n + 1);
            self.until(
                || format!("told {message:?}"),
                || request.completed(self) == n + 1,
            );
        };
        (0..).zip(LISTENING).for_each(tell);
    }

    /// What a network card can fill buffers with: a frame. What it sent is taken.
    fn exchange(&self) {
        let mut cable = &self.target.cable;
        let frame = [0; 60];
        let length = (frame.len() as u32).to_be_bytes();
        for result in [
            cable.write(&[&length[..], &frame].concat()),
            cable.read(&mut [0; 1 << 16]),
        ] {
            let would_block = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
            assert!(result.as_ref().err().is_none_or(would_block), "{result:?}");
        }
    }

    /// What a console can fill buffers with: bytes for its ports, and another size of the terminal, of which it tells.
    fn feed(&self) {
        for input in &self.target.inputs {
            input.write(&[0]);
            for cols in [80, 132] {
                input.resize(TerminalSize { rows: 25, cols });
            }
        }
    }

    pub(super) fn kick(&self, queue: u16) {
        self.write(NOTIFY.offset + DOORBELL_STEP * u64::from(queue), 2, queue.into());
    }

    pub(super) fn until(&self, what: impl Fn() -> String, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_so() {
            let kind = self.device_type();
            assert!(Instant::now() < deadline, "{kind:?} is not {}", what());
            match kind {
                DeviceType::Console => self.feed(),
                DeviceType::Net => self.exchange(),
                _ => {}
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// A fresh driver's request to any queue is done.
    pub(super) fn is_served(&self) {
        for queue in 0..self.queues() {
            self.runs(queue);
            let request = Request::of(self, queue);
            request.offer(self, 1);
            self.until(
                || format!("at work on queue {queue}"),
                || request.completed(self) == 1,
            );
            assert!(request.is_good(self), "{:?} {queue}", self.device_type());
        }
    }
}
