//! Requests whose every field is written with edge values, and rings that lie at every edge.

use vm_memory::{Bytes, GuestAddress};

use super::driver::{AVAILABLE, Driver, State, USED};
use super::outside::places;
use super::{Target, edges};
use crate::virtio::DeviceType;
use crate::virtio::ring::{DATA, END, NEXT, WRITE};
use crate::virtio::transport::DEVICE_NEEDS_RESET;

/// Room for the buffers of a function's requests, and within it for those of one.
const ROOM: u64 = 0x1_0000;
const EACH: u64 = 0x1000;

/// A status that no device gives.
const UNTOLD: u8 = 0xee;

/// A request as a driver that means well makes it: address, length and flags of each buffer.
pub(super) struct Request {
    pub(super) queue: u16,
    pub(super) buffers: Vec<(u64, u32, u16)>,
    /// The first descriptor.
    pub(super) head: u16,
    rings: u64,
}

impl Request {
    /// The first request of a driver.
    pub(super) fn of(driver: &Driver<'_>) -> Self {
        Self::nth(driver, 0)
    }

    /// Request `n`, with descriptors and buffers of its own, at the `n`th place of the ring.
    pub(super) fn nth(driver: &Driver<'_>, n: u16) -> Self {
        let at = DATA + driver.index * ROOM + u64::from(n) * EACH;
        let buffers = match driver.device_type() {
            // A read of the first sector.
            DeviceType::Block => vec![(at, 16, 0), (at + 0x200, 512, WRITE), (at + 0x800, 1, WRITE)],
            DeviceType::Rng => vec![(at, 64, WRITE)],
            DeviceType::Console => vec![(at, 64, 0)],
        };
        let queue = driver.served_queue();
        let request = Self {
            queue,
            head: n * buffers.len() as u16,
            buffers,
            rings: driver.rings(queue),
        };
        request.write(driver, n);
        request
    }

    /// Puts it into memory.
    fn write(&self, driver: &Driver<'_>, place: u16) {
        let ram = &driver.target.ram;
        let put = |bytes: &[u8], at: u64| ram.write_slice(bytes, GuestAddress(at)).expect("RAM");
        for (n, (address, len, flags)) in (0..).zip(&self.buffers) {
            put(&vec![0; *len as usize], *address);
            let is_last = usize::from(n) + 1 == self.buffers.len();
            let flags = flags | if is_last { 0 } else { NEXT };
            let at = self.descriptor(n);
            put(&address.to_le_bytes(), at);
            put(&len.to_le_bytes(), at + 8);
            put(&flags.to_le_bytes(), at + 12);
            put(&(self.head + n + 1).to_le_bytes(), at + 14);
        }
        if let Some((status, 1, _)) = self.buffers.last() {
            put(&[UNTOLD], *status);
        }
        put(
            &self.head.to_le_bytes(),
            self.rings + AVAILABLE + 4 + 2 * u64::from(place),
        );
    }

    /// Where its `n`th descriptor is.
    pub(super) fn descriptor(&self, n: u16) -> u64 {
        self.rings + 16 * u64::from(self.head + n)
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

/// The fields of a descriptor (2.7.5): offset, bytes.
const DESCRIPTOR: [(u64, usize); 4] = [(0, 8), (8, 4), (12, 2), (14, 2)];
/// Those of both rings (2.7.6, 2.7.8) but for the available index: flags, the first entry; flags, index,
/// the first entry.
const RINGS: [(u64, usize); 6] = [
    (AVAILABLE, 2),
    (AVAILABLE + 4, 2),
    (USED, 2),
    (USED + 2, 2),
    (USED + 4, 4),
    (USED + 8, 4),
];

fn is_broken(driver: &Driver<'_>) -> bool {
    driver.status() & DEVICE_NEEDS_RESET != 0
}

/// A request with `value` in one of its fields, and a good one behind it: either both are done with, the good
/// one well, or the device asks for a reset.
fn ends(driver: &Driver<'_>, field: impl Fn(&Request) -> u64, len: usize, value: u64) {
    driver.reach(State::Running);
    let (bad, good) = (Request::nth(driver, 0), Request::nth(driver, 1));
    let at = GuestAddress(field(&bad));
    let bytes = &value.to_le_bytes()[..len];
    driver.target.ram.write_slice(bytes, at).expect("RAM");
    good.offer(driver, 2);
    driver.until(&format!("done with {value:#x} of {len} at {:#x}", at.0), || {
        is_broken(driver) || good.completed(driver) == 2
    });
}

#[test]
fn hazard_every_field_of_a_descriptor_with_every_edge_value() {
    let target = Target::new();
    let mut requests = 0_u64;
    for driver in target.drivers() {
        driver.reach(State::Running);
        let count = Request::of(&driver).buffers.len() as u16;
        for n in 0..count {
            for (offset, len) in DESCRIPTOR {
                let places = places(&driver).into_iter().filter(|_| len == 8);
                for value in edges(len).into_iter().chain(places) {
                    ends(&driver, |request| request.descriptor(n) + offset, len, value);
                    requests += 1;
                }
            }
        }
    }
    println!("figure: {requests} requests with a descriptor of edge values");
    target.is_well();
}

#[test]
fn hazard_every_field_of_the_rings_with_every_edge_value() {
    let target = Target::new();
    let mut requests = 0_u64;
    for driver in target.drivers() {
        let rings = driver.rings(driver.served_queue());
        for (offset, len) in RINGS {
            for value in edges(len) {
                ends(&driver, |_| rings + offset, len, value);
                requests += 1;
            }
        }
        // How many are available: as many are done, or more than the queue holds is an error.
        for count in edges(2) {
            driver.reach(State::Running);
            let request = Request::of(&driver);
            request.offer(&driver, count as u16);
            driver.until(&format!("done with {count:#x} requests"), || {
                is_broken(&driver) || request.completed(&driver) == count as u16
            });
            requests += 1;
        }
    }
    println!("figure: {requests} requests in rings of edge values");
    target.is_well();
}

#[test]
fn hazard_rings_at_every_edge_and_of_every_size() {
    let target = Target::new();
    let mut rings = 0_u64;
    for driver in target.drivers() {
        let queue = driver.served_queue();
        let try_with = |register: u64, len: usize, value: u64| {
            driver.reach(State::Enabled);
            // From the state before: enabled queues are fixed.
            driver.reach(State::Agreed);
            for other in 0..driver.queues() {
                driver.set_up(other);
                if other == queue {
                    driver.write(register, len, value);
                }
                driver.write(28, 2, 1);
            }
            driver.write(20, 1, State::Running.status().into());
            driver.kick(queue);
            driver.read(20, 1)
        };
        for register in [32, 40, 48] {
            for value in edges(8).into_iter().chain(places(&driver)) {
                let status = try_with(register, 8, value);
                let is_ram = value < END - 0x1000;
                assert!(
                    is_ram || status & u64::from(DEVICE_NEEDS_RESET) != 0,
                    "{value:#x}"
                );
                rings += 1;
            }
        }
        for value in edges(2) {
            try_with(24, 2, value);
            rings += 1;
        }
    }
    println!("figure: {rings} rings at the edges of memory and of edge sizes");
    target.is_well();
}
