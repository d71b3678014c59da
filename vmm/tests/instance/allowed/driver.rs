//! A driver that has every device do its work, as a guest's instructions.

use std::collections::BTreeMap;

use kiln_vmm::arch::x86_64::layout::RTC;
use kiln_vmm::virtio::transport::layout::{MSIX_TABLE, NOTIFY};
use kiln_vmm::virtio::transport::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK};

use crate::micro::Access::{Await, Out};
use crate::sweep::{BUFFERS, Sweep, bar, configuration, rings};

/// The devices of [`crate::devices`], in the order of their slots.
const DISK: usize = 0;
const RNG: usize = 1;
const CONSOLE: usize = 2;
const NETWORK: usize = 3;
const BALLOON: usize = 4;

/// Flags of a descriptor: another one follows; the device writes.
const NEXT: u64 = 1;
const WRITE: u64 = 2;

/// Where the agent's port puts what the host said, behind a marker at which the host begins anew.
const HEARD: u32 = 0x4000;
/// As much of it as is said again: more than the host says at once.
const SAID: u64 = 300;

/// A driver. What it does is done one after the other.
#[derive(Default)]
pub(super) struct Driver {
    pub(super) sweep: Sweep,
    /// How many chains each queue was offered.
    offered: BTreeMap<(usize, u16), u16>,
}

impl Driver {
    /// Starts a device with these features of the first 32, and messages for interrupts.
    fn start(&mut self, device: usize, queues: u16, features: u64) {
        let sweep = &mut self.sweep;
        let at = bar(device);
        sweep.reach(device, ACKNOWLEDGE | DRIVER);
        for (word, bits) in [(0, features), (1, 1)] {
            sweep.write(at + 8, 4, word);
            sweep.write(at + 12, 4, bits);
        }
        sweep.write(at + 20, 1, (ACKNOWLEDGE | DRIVER | FEATURES_OK).into());
        // MSI-X on, and its first vector for every queue.
        sweep.write(configuration(device, 0x9a), 2, 1 << 15);
        for (register, value) in [(0, 0xfee0_0000), (4, 0), (8, 0x41), (12, 0)] {
            sweep.write(at + MSIX_TABLE.offset as u32 + register, 4, value);
        }
        for queue in 0..queues {
            sweep.write(at + 22, 2, queue.into());
            sweep.write(at + 26, 2, 0);
            sweep.enable(device, queue);
        }
        let all = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
        sweep.write(at + 20, 1, all.into());
    }

    /// Offers a queue a chain of buffers (where, length, flags), and waits until it has been used.
    fn offer(&mut self, device: usize, queue: u16, buffers: &[(u32, u64, u64)]) {
        self.lend(device, queue, buffers);
        self.wait(device, queue);
    }

    /// Waits until all that a queue was offered has been used.
    fn wait(&mut self, device: usize, queue: u16) {
        let offered = self.offered.get(&(device, queue)).copied().unwrap_or(0);
        let used = rings(device, queue) + 0x2002;
        self.sweep.accesses.push(Await(used, offered as u8));
    }

    /// The same, and does not wait.
    fn lend(&mut self, device: usize, queue: u16, buffers: &[(u32, u64, u64)]) {
        let table = rings(device, queue);
        let offered = self.offered.entry((device, queue)).or_default();
        let slot = u32::from(*offered % 8);
        *offered += 1;
        for (n, (offset, length, flags)) in (0..).zip(buffers) {
            let descriptor = table + 16 * n;
            self.sweep.write(descriptor, 8, (BUFFERS + offset).into());
            self.sweep.write(descriptor + 8, 4, *length);
            self.sweep.write(descriptor + 12, 2, *flags);
            self.sweep.write(descriptor + 14, 2, u64::from(n) + 1);
        }
        self.sweep.write(table + 0x1004 + 2 * slot, 2, 0);
        self.sweep.write(table + 0x1002, 2, (*offered).into());
        let doorbell = bar(device) + NOTIFY.offset as u32 + 4 * u32::from(queue);
        self.sweep.write(doorbell, 2, queue.into());
    }

    /// Write, read, flush, write zeroes, discard, by both queues; then writes where nothing was, which are not flushed.
    pub(super) fn use_the_disk(&mut self) {
        self.start(DISK, 2, 1 << 9 | 1 << 12 | 1 << 13 | 1 << 14);
        let sector = 512;
        for queue in 0..2 {
            for (kind, length, flags) in [
                (1, sector, 0),
                (0, sector, WRITE),
                (4, sector, 0),
                (13, 16, 0),
                (11, 16, 0),
            ] {
                self.ask_the_disk(queue, (kind, 0), (0x200, length, flags | NEXT));
            }
        }
        for cluster in 1..8 {
            self.ask_the_disk(0, (1, 128 * cluster), (0x200, sector, NEXT));
        }
    }

    /// A request of a kind, at a sector.
    fn ask_the_disk(&mut self, queue: u16, (kind, sector): (u64, u64), data: (u32, u64, u64)) {
        self.sweep.write(BUFFERS, 8, kind);
        self.sweep.write(BUFFERS + 8, 8, sector);
        // What is given back, or becomes zeroes: from the first sector on, a cluster.
        self.sweep.write(BUFFERS + 0x200, 8, 0);
        self.sweep.write(BUFFERS + 0x208, 8, 128);
        self.sweep.write(BUFFERS + 0x800, 1, 0xee);
        self.offer(DISK, queue, &[(0, 16, NEXT), data, (0x800, 1, WRITE)]);
        self.sweep.accesses.push(Await(BUFFERS + 0x800, 0));
    }

    /// Has every device stop while it works.
    pub(super) fn stop_all(&mut self) {
        (DISK..=BALLOON).for_each(|device| self.sweep.reach(device, 0));
    }

    /// Random bytes.
    pub(super) fn use_the_entropy(&mut self) {
        self.start(RNG, 1, 0);
        self.offer(RNG, 0, &[(0x1000, 64, WRITE)]);
    }

    /// A page that is put into the balloon and taken out, and one that is reported as free.
    pub(super) fn use_the_balloon(&mut self) {
        const FREE: u32 = 0x1_0000;
        self.start(BALLOON, 3, 1 << 2 | 1 << 5);
        for queue in 0..2 {
            let page = (BUFFERS + FREE) >> 12;
            self.sweep.write(BUFFERS, 4, page.into());
            self.offer(BALLOON, queue, &[(0, 4, 0)]);
        }
        self.offer(BALLOON, 2, &[(FREE, 4096, WRITE)]);
    }

    /// A frame, which comes back.
    pub(super) fn use_the_network(&mut self) {
        const SENT: u32 = 0x3000;
        const CAME: u32 = 0x3800;
        self.start(NETWORK, 2, 1 << 5);
        self.lend(NETWORK, 0, &[(CAME, 0x400, WRITE)]);
        for at in (0..72).step_by(8) {
            self.sweep.write(BUFFERS + SENT + at, 8, 0);
        }
        // Behind the header of 12 bytes and the address to which it goes.
        for (at, byte) in (BUFFERS + SENT + 18..).zip(crate::network::ADDRESS) {
            self.sweep.write(at, 1, byte.into());
        }
        self.offer(NETWORK, 1, &[(SENT, 72, 0)]);
        self.wait(NETWORK, 0);
    }

    /// An interrupt of the clock each second.
    pub(super) fn use_the_clock(&mut self) {
        self.sweep
            .accesses
            .extend([Out(RTC, 1, 0x0b), Out(RTC + 1, 1, 0x12)]);
    }

    /// A line on hvc0, with the port of the agent open.
    pub(super) fn use_the_consoles(&mut self) {
        self.start(CONSOLE, 6, 1 << 1);
        // The device is ready, and so are its ports; the second is opened.
        for (port, event) in [(0, 0), (0, 3), (1, 3), (1, 6)] {
            self.sweep.write(BUFFERS, 8, port | event << 32 | 1 << 48);
            self.offer(CONSOLE, 3, &[(0, 8, 0)]);
        }
        self.sweep.write(BUFFERS, 8, u64::from_le_bytes(*b"on hvc0\n"));
        self.offer(CONSOLE, 1, &[(0, 8, 0)]);
    }

    /// Says again what the host said on the agent's port, a number of times. Its greeting comes back as an agent's,
    /// its requests as nonsense.
    pub(super) fn echo(&mut self, times: usize) {
        let marker = kiln_agent::frame::RESYNC;
        for (at, word) in (BUFFERS + HEARD - 16..).step_by(8).zip(marker.as_chunks().0) {
            self.sweep.write(at, 8, u64::from_le_bytes(*word));
        }
        for _ in 0..times {
            self.offer(CONSOLE, 4, &[(HEARD, 4096, WRITE)]);
            self.offer(CONSOLE, 5, &[(HEARD - 16, SAID + 16, 0)]);
        }
    }
}
