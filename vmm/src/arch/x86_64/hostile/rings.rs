//! Requests whose every field is written with edge values, and rings that lie at every edge.

use std::collections::BTreeSet;

use vm_memory::{Bytes, GuestAddress};

use super::driver::{AVAILABLE, Driver, STATES, State, USED};
use super::outside::places;
use super::request::{Form, Request};
use super::{Target, edges};
use crate::virtio::ring::END;
use crate::virtio::transport::DEVICE_NEEDS_RESET;

/// The fields of a descriptor (2.7.5): offset, bytes.
const DESCRIPTOR: [(u64, usize); 4] = [(0, 8), (8, 4), (12, 2), (14, 2)];

/// The fields of both rings (2.7.6, 2.7.8) of a queue of `size` entries but for the available index: flags, the first
/// entry, when to interrupt; flags, index, the first entry, when to kick.
fn ring_fields(size: u64) -> [(u64, usize); 8] {
    [
        (AVAILABLE, 2),
        (AVAILABLE + 4, 2),
        (AVAILABLE + 4 + 2 * size, 2),
        (USED, 2),
        (USED + 2, 2),
        (USED + 4, 4),
        (USED + 8, 4),
        (USED + 4 + 8 * size, 2),
    ]
}

/// Queues of all devices here.
fn queues(target: &Target) -> usize {
    target.drivers().map(|driver| usize::from(driver.queues())).sum()
}

fn is_broken(driver: &Driver<'_>) -> bool {
    driver.status() & DEVICE_NEEDS_RESET != 0
}

fn put(driver: &Driver<'_>, at: u64, len: usize, value: u64) {
    let bytes = &value.to_le_bytes()[..len];
    driver
        .target
        .ram
        .write_slice(bytes, GuestAddress(at))
        .expect("RAM");
}

/// A request with `value` in one of its fields, and a good one behind it: either both are done with, or the device
/// asks for a reset.
fn ends(driver: &Driver<'_>, (bad, good): (&Request, &Request), (field, len): (u64, usize), value: u64) {
    put(driver, field, len, value);
    good.offer(driver, 2);
    let what = || format!("done with {value:#x} of {len} at {field:#x}, queue {}", bad.queue);
    driver.until(what, || is_broken(driver) || good.completed(driver) == 2);
}

/// Two requests to `queue` of a driver that runs.
fn two(driver: &Driver<'_>, queue: u16, form: Form) -> (Request, Request) {
    driver.runs(queue);
    (
        Request::nth(driver, queue, 0, form),
        Request::nth(driver, queue, 1, form),
    )
}

#[test]
fn hazard_every_field_of_a_descriptor_with_every_edge_value() {
    let target = Target::new();
    let (mut requests, mut tried, mut buffers) = (0_u64, BTreeSet::new(), 0);
    for driver in target.drivers() {
        for queue in 0..driver.queues() {
            let count = Request::of(&driver, queue).buffers.len() as u16;
            buffers += usize::from(count);
            for form in [Form::Direct, Form::Indirect] {
                for n in 0..count {
                    for (offset, len) in DESCRIPTOR {
                        let places = places(&driver).into_iter().filter(|_| len == 8);
                        for value in edges(len).into_iter().chain(places) {
                            let (bad, good) = two(&driver, queue, form);
                            ends(&driver, (&bad, &good), (bad.descriptor(n) + offset, len), value);
                            requests += 1;
                        }
                        tried.insert((driver.index, queue, form, n, offset));
                    }
                }
                // The descriptor that refers to the table.
                for (offset, len) in DESCRIPTOR.into_iter().filter(|_| form == Form::Indirect) {
                    for value in edges(len) {
                        let (bad, good) = two(&driver, queue, form);
                        let at = driver.rings(queue) + 16 * u64::from(bad.head);
                        ends(&driver, (&bad, &good), (at + offset, len), value);
                        requests += 1;
                    }
                    tried.insert((driver.index, queue, form, count, offset));
                }
            }
        }
    }
    assert_eq!(tried.len(), (2 * buffers + queues(&target)) * DESCRIPTOR.len());
    println!("figure: {requests} requests with a descriptor of edge values");
    target.is_well();
}

#[test]
fn hazard_every_field_of_the_rings_with_every_edge_value() {
    let target = Target::new();
    let (mut requests, mut tried) = (0_u64, BTreeSet::new());
    for driver in target.drivers() {
        for queue in 0..driver.queues() {
            let rings = driver.rings(queue);
            for (offset, len) in ring_fields(driver.size(queue)) {
                for value in edges(len) {
                    let (bad, good) = two(&driver, queue, Form::Direct);
                    ends(&driver, (&bad, &good), (rings + offset, len), value);
                    requests += 1;
                }
                tried.insert((driver.index, queue, offset));
            }
            // How many are available: as many are done, or more than the queue holds is an error.
            for count in edges(2) {
                driver.runs(queue);
                let request = Request::of(&driver, queue);
                request.offer(&driver, count as u16);
                let what = || format!("done with {count:#x} requests to queue {queue}");
                driver.until(what, || {
                    is_broken(&driver) || request.completed(&driver) == count as u16
                });
                requests += 1;
            }
            tried.insert((driver.index, queue, AVAILABLE + 2));
        }
    }
    assert_eq!(tried.len(), queues(&target) * 9);
    println!("figure: {requests} requests in rings of edge values");
    target.is_well();
}

/// Before its driver is ready a device has no rings, whatever lies in memory and however often it is told of it. After
/// that, a driver which gives up is served on, and a queue that is broken stays so.
#[test]
fn hazard_rings_of_edge_values_are_left_alone_unless_the_device_runs() {
    let target = Target::new();
    let mut tried = BTreeSet::new();
    for driver in target.drivers() {
        for state in STATES.into_iter().filter(|state| *state != State::Running) {
            for queue in 0..driver.queues() {
                let rings = driver.rings(queue);
                for (offset, len) in ring_fields(driver.size(queue))
                    .into_iter()
                    .chain([(AVAILABLE + 2, 2)])
                {
                    driver.reach(state);
                    for value in edges(len) {
                        let request = Request::of(&driver, queue);
                        put(&driver, rings + offset, len, value);
                        let before = request.completed(&driver);
                        driver.kick(queue);
                        let is_stopped = state < State::Running
                            || state == State::NeedsReset && queue == driver.broken_queue();
                        assert!(
                            !is_stopped || request.completed(&driver) == before,
                            "{state:?} {queue} {offset:#x}"
                        );
                    }
                    tried.insert((driver.index, state, queue, offset));
                }
            }
        }
    }
    assert_eq!(tried.len(), (STATES.len() - 1) * queues(&target) * 9);
    target.is_well();
}

#[test]
fn hazard_rings_at_every_edge_and_of_every_size() {
    let target = Target::new();
    let (mut rings, mut tried) = (0_u64, BTreeSet::new());
    for driver in target.drivers() {
        for queue in 0..driver.queues() {
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
                tried.insert((driver.index, queue, register));
            }
            for value in edges(2) {
                try_with(24, 2, value);
                rings += 1;
            }
            tried.insert((driver.index, queue, 24));
        }
    }
    assert_eq!(tried.len(), queues(&target) * 4);
    println!("figure: {rings} rings at the edges of memory and of edge sizes");
    target.is_well();
}
