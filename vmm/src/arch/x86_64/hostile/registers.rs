//! The registers that every virtio device has, and the parts of BAR 0 around them.

use std::collections::BTreeSet;

use super::driver::{Driver, STATES, State};
use super::{Target, edges};
use crate::virtio::transport::QueueSetup;
use crate::virtio::transport::layout::{BAR_SIZE, COMMON, DEVICE, ISR, NOTIFY, PARTS, REGISTERS};

/// What a driver cannot change any more once it has enabled a queue.
fn enabled(driver: &Driver<'_>) -> Vec<QueueSetup> {
    let queues = driver.function.state().common.queues;
    queues.into_iter().filter(|queue| queue.enabled).collect()
}

/// Writes `value` and holds what must hold whatever it is; whether the device is as it was.
fn attempt(driver: &Driver<'_>, offset: u64, len: usize, value: u64) -> bool {
    let (before, set_up) = (driver.status(), enabled(driver));
    driver.write(offset, len, value);
    let after = driver.status();
    driver.read(offset, len);
    let what = || format!("{:?}: {value:#x} to {offset:#x}+{len}", driver.device_type());
    assert!(
        after & before == before || after == 0,
        "{}: {before:#x} {after:#x}",
        what()
    );
    let queues = driver.function.state().common.queues;
    for queue in &queues {
        assert!(
            queue.ring.size.is_power_of_two() && queue.ring.size <= 256,
            "{}",
            what()
        );
    }
    let now = enabled(driver);
    if after == before && set_up.len() == usize::from(driver.queues()) {
        let places = |setups: &[QueueSetup]| {
            let place = |setup: &QueueSetup| {
                let ring = setup.ring;
                (ring.size, ring.descriptors, ring.available, ring.used)
            };
            setups.iter().map(place).collect::<Vec<_>>()
        };
        assert_eq!(places(&now), places(&set_up), "{}", what());
    }
    after == before && now.len() == set_up.len()
}

#[test]
fn hazard_every_register_takes_every_value_in_every_state() {
    let target = Target::new();
    let (mut writes, mut tried) = (0_u64, BTreeSet::new());
    for driver in target.drivers() {
        let last = u64::from(driver.queues()) - 1;
        for state in STATES {
            driver.reach(state);
            for select in [0, last, last + 1, 0xffff] {
                driver.write(22, 2, select);
                for (offset, width, register) in REGISTERS {
                    let halves = (width == 8).then_some([(offset, 4), (offset + 4, 4)]);
                    for (offset, len) in [(offset, width)].into_iter().chain(halves.into_iter().flatten()) {
                        for value in edges(len) {
                            if !attempt(&driver, offset, len, value) {
                                driver.reach(state);
                                driver.write(22, 2, select);
                            }
                            writes += 1;
                        }
                        tried.insert((driver.index, state, register, offset, len));
                        driver.write(22, 2, select);
                    }
                }
            }
        }
    }
    // Three registers of 8 bytes are written by halves, too.
    let each = REGISTERS.len() + 2 * REGISTERS.iter().filter(|(_, width, _)| *width == 8).count();
    assert_eq!(tried.len(), target.functions.len() * STATES.len() * each);
    println!(
        "figure: {writes} writes to the registers of {} devices in {} states",
        target.functions.len(),
        STATES.len()
    );
    target.is_well();
}

#[test]
fn hazard_every_size_at_every_offset_of_the_registers_in_every_state() {
    let target = Target::new();
    let mut writes = 0_u64;
    for driver in target.drivers() {
        for state in STATES {
            driver.reach(state);
            for offset in 0..COMMON.size + 8 {
                for len in 1..=8 {
                    // A few of the values: that such an access does nothing does not depend on them.
                    for value in [0, 1, u64::MAX >> 1, u64::MAX] {
                        if !attempt(&driver, offset, len, value) {
                            driver.reach(state);
                        }
                        writes += 1;
                    }
                }
            }
        }
    }
    println!("figure: {writes} writes of every size to every offset of the registers");
    target.is_well();
}

#[test]
fn hazard_every_part_of_the_bar_takes_every_size_and_edge_value() {
    let target = Target::new();
    for driver in target.drivers() {
        for state in [State::Reset, State::Running, State::NeedsReset] {
            driver.reach(state);
            for (region, part) in PARTS {
                // All of what is there, and the edges of where it could be.
                let there = match part {
                    COMMON => continue,
                    ISR | DEVICE => 0x80,
                    NOTIFY => 4 * (u64::from(driver.queues()) + 2),
                    _ => 16 * (u64::from(driver.queues()) + 2),
                };
                let end = part.offset + part.size;
                let edge = end.saturating_sub(9).max(part.offset)..end + 9;
                for offset in (part.offset..part.offset + there).chain(edge) {
                    for len in 1..=8 {
                        for value in edges(len) {
                            driver.write(offset, len, value);
                        }
                        driver.read(offset, len);
                    }
                }
                let kept = driver.status() & !crate::virtio::transport::DEVICE_NEEDS_RESET;
                assert_eq!(kept & 0xf, state.status() & 0xf, "{region:?}");
            }
            for offset in BAR_SIZE - 16..BAR_SIZE + 8 {
                for len in 1..=8 {
                    driver.write(offset, len, u64::MAX);
                    driver.read(offset, len);
                }
            }
        }
    }
    target.is_well();
}
