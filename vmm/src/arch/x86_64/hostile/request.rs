//! Requests of a driver: one that each queue of each device takes.

use vm_memory::{Bytes, GuestAddress};

use super::driver::{AVAILABLE, Driver, USED};
use crate::virtio::DeviceType;
use crate::virtio::ring::{DATA, INDIRECT, NEXT, WRITE};

/// Room for the buffers of a function's requests, and within it for those of one.
pub(super) const ROOM: u64 = 0x1_0000;
const EACH: u64 = 0x1000;
/// From a request's buffers to its indirect table.
const TABLE: u64 = 0xc00;

/// The queue of a balloon by which its driver tells what is free.
const REPORTING: u16 = 2;

/// The queue by which a network card gives frames.
const RECEIVE: u16 = 0;

/// A status that no device gives.
const UNTOLD: u8 = 0xee;

/// Where the descriptors of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// In the queue's table.
    Direct,
    /// In a table of their own (2.7.5.3).
    Indirect,
}

/// A request as a driver that means well makes it: address, length and flags of each buffer.
pub(super) struct Request {
    pub(super) queue: u16,
    pub(super) buffers: Vec<(u64, u32, u16)>,
    /// The first descriptor in the queue's table.
    pub(super) head: u16,
    rings: u64,
    /// The first descriptor of a buffer, and its number in its table.
    first: (u64, u16),
}

impl Request {
    /// The first request of a driver to `queue`.
    pub(super) fn of(driver: &Driver<'_>, queue: u16) -> Self {
        Self::nth(driver, queue, 0, Form::Direct)
    }

    /// Request `n`, with descriptors and buffers of its own, at the `n`th place of the ring.
    pub(super) fn nth(driver: &Driver<'_>, queue: u16, n: u16, form: Form) -> Self {
        let at = DATA + driver.index * ROOM + u64::from(n) * EACH;
        let buffers = match driver.device_type() {
            // A read of the first sector.
            DeviceType::Block => vec![(at, 16, 0), (at + 0x200, 512, WRITE), (at + 0x800, 1, WRITE)],
            DeviceType::Rng => vec![(at, 64, WRITE)],
            // A range that is free, or pages by their numbers: the first one, in which nothing is.
            DeviceType::Balloon if queue == REPORTING => vec![(at, 64, WRITE)],
            DeviceType::Balloon => vec![(at, 64, 0)],
            DeviceType::Net if queue == RECEIVE => vec![(at, 128, WRITE)],
            DeviceType::Net => vec![(at, 72, 0)],
            DeviceType::Console if Driver::is_lent(queue) => vec![(at, 64, WRITE)],
            DeviceType::Console => vec![(at, 64, 0)],
        };
        let rings = driver.rings(queue);
        let head = n * buffers.len() as u16;
        let request = Self {
            queue,
            head,
            first: match form {
                Form::Direct => (rings + 16 * u64::from(head), head),
                Form::Indirect => (at + TABLE, 0),
            },
            buffers,
            rings,
        };
        request.write(driver, n, form);
        request
    }

    /// Puts it into memory.
    fn write(&self, driver: &Driver<'_>, place: u16, form: Form) {
        let ram = &driver.target.ram;
        let put = |bytes: &[u8], at: u64| ram.write_slice(bytes, GuestAddress(at)).expect("RAM");
        let describe = |at: u64, (address, len, flags): (u64, u32, u16), next: u16| {
            put(&address.to_le_bytes(), at);
            put(&len.to_le_bytes(), at + 8);
            put(&flags.to_le_bytes(), at + 12);
            put(&next.to_le_bytes(), at + 14);
        };
        for (n, (address, len, flags)) in (0..).zip(&self.buffers) {
            put(&vec![0; *len as usize], *address);
            let is_last = usize::from(n) + 1 == self.buffers.len();
            let flags = flags | if is_last { 0 } else { NEXT };
            describe(self.descriptor(n), (*address, *len, flags), self.first.1 + n + 1);
        }
        if let Some((status, 1, _)) = self.buffers.last() {
            put(&[UNTOLD], *status);
        }
        if form == Form::Indirect {
            let table = (self.first.0, 16 * self.buffers.len() as u32, INDIRECT);
            describe(self.rings + 16 * u64::from(self.head), table, 0);
        }
        put(
            &self.head.to_le_bytes(),
            self.rings + AVAILABLE + 4 + 2 * u64::from(place),
        );
    }

    /// Where the descriptor of its `n`th buffer is.
    pub(super) fn descriptor(&self, n: u16) -> u64 {
        self.first.0 + 16 * u64::from(n)
    }

    /// Makes `count` requests in all available.
    pub(super) fn offer(&self, driver: &Driver<'_>, count: u16) {
        let at = GuestAddress(self.rings + AVAILABLE + 2);
        driver.target.ram.write_obj(count, at).expect("RAM");
        driver.kick(self.queue);
    }

    /// How many requests of its queue are completed.
    pub(super) fn completed(&self, driver: &Driver<'_>) -> u16 {
        let at = GuestAddress(self.rings + USED + 2);
        driver.target.ram.read_obj(at).expect("RAM")
    }

    /// The status that a block device gave; other devices give none.
    pub(super) fn status(&self, driver: &Driver<'_>) -> u8 {
        match self.buffers.last() {
            Some((status, 1, _)) => driver.target.ram.read_obj(GuestAddress(*status)).expect("RAM"),
            _ => 0,
        }
    }

    pub(super) fn is_good(&self, driver: &Driver<'_>) -> bool {
        self.status(driver) == 0
    }
}
