//! The accesses of a guest that means harm, from the layout tables, and those of a driver that means well.

mod states;

use std::collections::BTreeSet;

use kiln_vmm::arch::x86_64::board::PORTS;
use kiln_vmm::arch::x86_64::layout::{BARS, COM1, ECAM, I8042_COMMAND, PM, PVPANIC, RESET_CONTROL, RTC};
use kiln_vmm::virtio::transport::layout::{BAR_SIZE, COMMON, DOORBELL_STEP, NOTIFY, PARTS};
use kiln_vmm::virtio::transport::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK};

use crate::micro::Access::{self, Await, In, Out, Read, Write};
use states::State;

/// Queues of each device of [`crate::devices`], in the order of their slots.
const QUEUES: [u16; 5] = [1, 1, 6, 2, 3];
/// Where each of them is.
const SLOTS: [u32; 5] = [1, 2, 3, 29, 30];
/// Entries of a queue.
const SIZE: u32 = 8;
/// The driver is ready.
const RUNNING: u8 = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
/// A page for each part of each queue, from here on.
const RINGS: u32 = 0x100_0000;
/// Of each queue: table, available ring, used ring.
const RING: u32 = 0x3000;
/// Where a request's buffers are.
pub(crate) const BUFFERS: u32 = 0x180_0000;
/// Bytes that the disk begins with.
pub(crate) const MARK: [u8; 4] = *b"Kiln";

/// 0, 1, both sides of the sign, all ones and one less.
fn edges(size: usize) -> [u64; 6] {
    let ones = u64::MAX >> (64 - 8 * size);
    [0, 1, ones >> 1, (ones >> 1) + 1, ones - 1, ones]
}

pub(crate) fn bar(device: usize) -> u32 {
    (BARS + BAR_SIZE * device as u64) as u32
}

/// The register at `offset` of the configuration of `device`.
pub(crate) fn configuration(device: usize, offset: u32) -> u32 {
    ECAM as u32 + (SLOTS[device] << 15) + offset
}

/// Instructions in the order in which they are made.
#[derive(Default)]
pub(crate) struct Sweep {
    pub(crate) accesses: Vec<Access>,
    /// Each register, or field of a queue's rings, that was written: device, state, queue, offset.
    tried: BTreeSet<(usize, State, Option<u16>, u32)>,
}

impl Sweep {
    fn push(&mut self, access: Access) {
        self.accesses.push(access);
    }

    pub(crate) fn write(&mut self, address: u32, size: usize, value: u64) {
        self.push(Write(address, size, value));
    }

    /// Every edge value to an address, and a look at what has become of it.
    fn try_all(&mut self, address: u32, size: usize) {
        for value in edges(size) {
            self.write(address, size, value);
        }
        self.push(Read(address, size));
    }

    /// Prints `text`, for who waits.
    pub(crate) fn say(&mut self, text: &str) {
        let bytes = text.bytes().map(|byte| Out(COM1, 1, byte.into()));
        self.accesses.extend(bytes);
    }

    fn kick(&mut self, device: usize, queue: u16) {
        let doorbell = NOTIFY.offset + DOORBELL_STEP * u64::from(queue);
        self.write(bar(device) + doorbell as u32, 2, queue.into());
    }

    /// Brings a device from a reset to these bits of its status.
    pub(crate) fn reach(&mut self, device: usize, status: u8) {
        let at = bar(device);
        self.write(at + 20, 1, 0);
        let mut reached = 0;
        for bit in [ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK, FAILED] {
            if status & bit == 0 {
                continue;
            }
            if bit == FEATURES_OK {
                // VERSION_1 alone.
                for (word, features) in [(0, 0), (1, 1)] {
                    self.write(at + 8, 4, word);
                    self.write(at + 12, 4, features);
                }
            }
            if bit == DRIVER_OK {
                (0..QUEUES[device]).for_each(|queue| self.enable(device, queue));
            }
            reached |= bit;
            self.write(at + 20, 1, reached.into());
        }
    }

    pub(crate) fn enable(&mut self, device: usize, queue: u16) {
        let (at, rings) = (bar(device), rings(device, queue));
        self.write(rings + 0x1000, 4, 0);
        self.write(rings + 0x2000, 4, 0);
        self.write(at + 22, 2, queue.into());
        self.write(at + 24, 2, SIZE.into());
        for (register, part) in [(32, 0), (40, 0x1000), (48, 0x2000)] {
            self.write(at + register, 4, (rings + part).into());
            self.write(at + register + 4, 4, 0);
        }
        self.write(at + 28, 2, 1);
    }

    /// The parts of every BAR: their beginnings, and across their ends, which makes accesses of odd sizes.
    pub(crate) fn parts(&mut self) {
        for device in 0..QUEUES.len() {
            for (_, part) in PARTS {
                let end = part.offset + part.size;
                let inside = part.size.min(2 * COMMON.size);
                for offset in (part.offset..part.offset + inside).step_by(3).chain(end - 7..end) {
                    for size in [1, 2, 4, 8] {
                        self.try_all(bar(device) + offset as u32, size);
                    }
                }
            }
            self.reach(device, 0);
        }
    }

    /// Configuration space: every byte of the bridge and of every device, then all as it was.
    pub(crate) fn configuration(&mut self) {
        for function in std::iter::once(0).chain(SLOTS) {
            for offset in 0..0x100 {
                for size in [1, 2, 4, 8] {
                    let address = ECAM as u32 + (function << 15) + offset;
                    self.write(address, size, u64::MAX >> (64 - 8 * size));
                    self.write(address, size, 0);
                    self.push(Read(address, size));
                }
            }
        }
        for device in 0..QUEUES.len() {
            self.write(configuration(device, 0x10), 4, bar(device).into());
            self.write(configuration(device, 4), 2, 6);
        }
    }

    /// Every port, with each edge value in turn; those of devices with all of them, at every size.
    pub(crate) fn ports(&mut self) {
        let mut put = |port: u16, size: usize, value: u64| {
            if !asks_for_an_end(port, size, value) {
                self.push(Out(port, size, value));
            }
        };
        for port in 0..=u16::MAX {
            let size = 1 << (port % 3);
            put(port, size, edges(size)[usize::from(port) % 6]);
        }
        for (first, count) in PORTS {
            for port in first.saturating_sub(3)..first + count as u16 {
                for size in [1, 2, 4] {
                    edges(size).into_iter().for_each(|value| put(port, size, value));
                }
            }
        }
        for index in 0..0x80 {
            for value in edges(1) {
                put(RTC, 1, index);
                put(RTC + 1, 1, value);
            }
        }
        for (first, count) in PORTS {
            let reads = (first..first + count as u16).flat_map(|port| [1, 2, 4].map(|size| In(port, size)));
            self.accesses.extend(reads);
        }
        // The serial port as it was: no interrupts, no loop, no divisor.
        for (register, value) in [(3, 0), (1, 0), (4, 8), (3, 3)] {
            self.push(Out(COM1 + register, 1, value));
        }
    }

    /// Descriptors of a request to the disk with edge values, and the devices' registers for buffers.
    pub(crate) fn descriptors(&mut self) {
        let places = [bar(0), bar(2) + 0x4000, ECAM as u32, 0xfee0_0000].map(u64::from);
        for n in 0..3 {
            for (field, size) in [(0, 8), (8, 4), (12, 2), (14, 2)] {
                let places = places.into_iter().filter(|_| size == 8);
                for value in edges(size).into_iter().chain(places) {
                    self.reach(0, RUNNING);
                    self.request();
                    self.write(rings(0, 0) + 16 * n + field, size, value);
                    self.write(rings(0, 0) + 0x1002, 2, 1);
                    self.write(bar(0) + NOTIFY.offset as u32, 2, 0);
                    self.push(Read(bar(0) + 20, 1));
                }
            }
        }
    }

    /// A read of the disk's first sector, not offered yet.
    fn request(&mut self) {
        let table = rings(0, 0);
        for (n, (at, len, flags)) in (0..).zip([(0, 16, 1), (0x200, 512, 3), (0x800, 1, 2)]) {
            let at: u32 = BUFFERS + at;
            self.write(table + 16 * n, 8, at.into());
            self.write(table + 16 * n + 8, 4, len);
            self.write(table + 16 * n + 12, 2, flags);
            self.write(table + 16 * n + 14, 2, u64::from(n) + 1);
        }
        self.write(BUFFERS, 8, 0);
        self.write(BUFFERS + 8, 8, 0);
        self.write(BUFFERS + 0x200, 8, 0);
        self.write(BUFFERS + 0x800, 1, 0xee);
        self.write(table + 0x1004, 2, 0);
    }

    /// What a driver that means well does.
    pub(crate) fn read_the_disk(&mut self) {
        self.reach(0, RUNNING);
        self.request();
        self.write(rings(0, 0) + 0x1002, 2, 1);
        self.write(bar(0) + NOTIFY.offset as u32, 2, 0);
        self.push(Await(rings(0, 0) + 0x2002, 1));
        self.push(Await(BUFFERS + 0x800, 0));
        let bytes = (BUFFERS + 0x200..).zip(MARK);
        self.accesses
            .extend(bytes.map(|(address, byte)| Await(address, byte)));
    }
}

pub(crate) fn rings(device: usize, queue: u16) -> u32 {
    RINGS + RING * (device as u32 * 8 + u32::from(queue))
}

/// Whether a write asks for the machine's reset or end, each of which has its own test.
fn asks_for_an_end(port: u16, size: usize, value: u64) -> bool {
    let byte_of = |wanted: u16| {
        let index = wanted.checked_sub(port).map(usize::from);
        index
            .filter(|index| *index < size)
            .map_or(0, |index| value >> (8 * index) & 0xff)
    };
    match port {
        I8042_COMMAND => size == 1 && value == 0xfe,
        PVPANIC => size == 1 && value & 1 != 0,
        RESET_CONTROL => size == 1 && value & 4 != 0,
        // The bit that puts to sleep.
        _ => byte_of(PM + 5) & 0x20 != 0,
    }
}
