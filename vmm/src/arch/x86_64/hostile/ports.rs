//! Ports: all 65,536 of them, and the registers behind the devices' own.

use super::firmware::PORTS;
use super::{Target, edges};
use crate::arch::x86_64::layout::{COM1, RTC};

/// What the instruction set has.
const SIZES: [usize; 3] = [1, 2, 4];

fn put(target: &Target, port: u64, size: usize, value: u64) -> bool {
    target.ports.write(port, &value.to_le_bytes()[..size])
}

fn get(target: &Target, port: u64, size: usize) -> u64 {
    let mut bytes = [0; 8];
    target.ports.read(port, &mut bytes[..size]);
    u64::from_le_bytes(bytes)
}

#[test]
fn hazard_every_port_takes_every_size_and_edge_value() {
    let target = Target::new();
    let (mut writes, mut answered, mut asking) = (0_u64, 0_u64, Vec::new());
    for port in 0..=0xffff {
        for size in SIZES {
            for value in edges(size) {
                let before = target.asked.lock().expect("lock").len();
                let is_answered = put(&target, port, size, value);
                if target.asked.lock().expect("lock").len() > before {
                    asking.push(port);
                }
                writes += 1;
                answered += u64::from(is_answered);
                if !is_answered {
                    assert_eq!(get(&target, port, size), u64::MAX >> (64 - 8 * size), "{port:#x}");
                } else {
                    get(&target, port, size);
                }
            }
        }
    }
    let values: usize = SIZES.iter().map(|size| edges(*size).len()).sum();
    assert_eq!(writes, 0x1_0000 * values as u64);
    // The table of ports and the bus agree on who answers.
    let whole = |(_, count): (u16, u64), size: usize| (count + 1).saturating_sub(size as u64);
    let of_size = |size: usize| PORTS.map(|range| whole(range, size) * edges(size).len() as u64);
    let expected: u64 = SIZES.into_iter().flat_map(of_size).sum();
    assert_eq!(answered, expected);
    // The guest's end and its reset are asked for by these ports only, each by its name.
    let asked = target.asked.lock().expect("lock").clone();
    assert_eq!(
        asked,
        [
            "Reset(KeyboardController)",
            "Panicked",
            "Off",
            "Reset(ResetControl)"
        ]
    );
    assert_eq!(asking, [0x64, 0x505, 0x602, 0xcf9]);
    println!("figure: {writes} writes to ports, {answered} of them to a device");
    target.is_well();
}

#[test]
fn hazard_device_ports_take_accesses_of_every_size_at_every_place() {
    let target = Target::new();
    for (first, count) in PORTS {
        let first = u64::from(first);
        for port in first - 8..first + count {
            for size in 1..=8 {
                let values = edges(size);
                let is_within = port >= first && port + size as u64 <= first + count;
                for value in values {
                    assert_eq!(put(&target, port, size, value), is_within, "{port:#x} {size}");
                    get(&target, port, size);
                }
            }
        }
    }
    target.is_well();
}

#[test]
fn hazard_every_byte_at_every_index_of_the_clock_in_every_mode() {
    let target = Target::new();
    let rtc = std::sync::Arc::clone(&target.board.rtc);
    let interrupts = std::thread::spawn({
        let rtc = std::sync::Arc::clone(&rtc);
        move || rtc.raise_interrupts()
    });
    let (index, data) = (u64::from(RTC), u64::from(RTC) + 1);
    // Status B: stopped, each set of interrupts, binary, 24 hours.
    for mode in (0..=0xff).filter(|mode| mode & 0b1001 == 0) {
        for register in 0..0x80 {
            for value in edges(1) {
                for (port, byte) in [(index, 0x0b), (data, mode), (index, register), (data, value)] {
                    put(&target, port, 1, byte);
                }
                get(&target, data, 1);
                // The time, whatever it is now.
                for part in [0, 4, 7, 8, 9, 0x32] {
                    put(&target, index, 1, part);
                    get(&target, data, 1);
                }
            }
        }
    }
    let state = rtc.state();
    rtc.restore(&state).expect("what a guest can set can be saved");
    rtc.end();
    interrupts.join().expect("the clock's thread lives");
}

#[test]
fn hazard_every_byte_at_every_register_of_the_serial_port_in_every_mode() {
    let target = Target::new();
    let com1 = u64::from(COM1);
    // Divisor latch or not; loop or not; every set of interrupts.
    for (line, modem) in [(0, 0), (0x80, 0), (0, 0x10), (0x80, 0x10)] {
        for interrupts in 0..=0xf {
            for register in 0..8 {
                for value in 0..=0xff {
                    for (port, byte) in [(3, 0), (1, interrupts), (4, modem), (3, line), (register, value)] {
                        put(&target, com1 + port, 1, byte);
                    }
                    for port in 0..8 {
                        get(&target, com1 + port, 1);
                    }
                }
            }
        }
    }
    let state = target.board.serial.state();
    let restored = target.board.serial.restore(&state);
    restored.expect("what a guest can set can be saved");
    assert!(target.board.serial.receive(&[0; 1000]) <= 64);
}
