use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use super::layout;
use super::*;
use crate::pci::fake::{Bells, Messages, Router};
use crate::pci::{Doorbells, MsiRouter, PciBus, PciFunction, Slot, WINDOW_BASE};
use crate::virtio::ring::{DATA, Ring, memory};
use crate::virtio::rng::{Rng, RngSpec};
use crate::virtio::{EVENT_IDX, GuestMemory, INDIRECT_DESC, VERSION_1, VirtioDevice};

const RINGS: u64 = 0x4000;

struct Machine {
    bus: PciBus,
    function: Arc<VirtioPci>,
    messages: Arc<Messages>,
    bells: Arc<Bells>,
    memory: GuestMemory,
}

fn rng() -> Box<dyn VirtioDevice> {
    Box::new(Rng::new(&RngSpec::default(), Arc::new(())).expect("device"))
}

fn machine() -> Machine {
    let (messages, bells) = (Arc::new(Messages::default()), Arc::new(Bells::default()));
    let memory = memory();
    let wiring = Wiring {
        memory: memory.clone(),
        router: Arc::new(Router(Arc::clone(&messages))) as Arc<dyn MsiRouter>,
        doorbells: Arc::clone(&bells) as Arc<dyn Doorbells>,
    };
    let bus = PciBus::new();
    let function = VirtioPci::attach(rng(), slot(), &bus, wiring).expect("free");
    Machine {
        bus,
        function,
        messages,
        bells,
        memory,
    }
}

fn slot() -> Slot {
    Slot::new(3).expect("slot")
}

impl Machine {
    fn read(&self, offset: u64, len: usize) -> u64 {
        let mut bytes = [0; 8];
        self.bus.memory_read(WINDOW_BASE + offset, &mut bytes[..len]);
        u64::from_le_bytes(bytes)
    }

    fn write(&self, offset: u64, len: usize, value: u64) {
        self.bus
            .memory_write(WINDOW_BASE + offset, &value.to_le_bytes()[..len]);
    }

    fn status(&self) -> u8 {
        self.read(20, 1) as u8
    }

    /// What a driver does up to, and with, the given status bits.
    fn drive(&self, features: u64, until: u8) {
        for bit in [ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK] {
            if bit == FEATURES_OK {
                for word in 0..2 {
                    self.write(8, 4, word);
                    self.write(12, 4, features >> (32 * word) & 0xffff_ffff);
                }
            }
            if bit == DRIVER_OK {
                self.set_up_queue(8);
            }
            self.write(20, 1, u64::from(self.status() | bit));
            if bit == until {
                return;
            }
        }
    }

    fn set_up_queue(&self, size: u16) -> Ring {
        let ring = Ring::new(&self.memory, RINGS, size);
        let state = ring.state();
        self.write(22, 2, 0);
        self.write(24, 2, size.into());
        self.write(26, 2, 1);
        self.write(32, 8, state.descriptors);
        self.write(40, 4, state.available & 0xffff_ffff);
        self.write(44, 4, state.available >> 32);
        self.write(48, 8, state.used);
        self.write(28, 2, 1);
        ring
    }

    /// Lets vector 1 through.
    fn open_vector(&self) {
        let table = layout::MSIX_TABLE.offset + 16;
        self.write(table, 8, 0xfee0_0000);
        self.write(table + 8, 8, 0x51);
        let control = self.msix_capability() + 2;
        self.bus.config_write(slot(), control, &[0, 0x80]);
    }

    fn msix_capability(&self) -> u16 {
        self.capabilities()
            .into_iter()
            .find(|(id, _)| *id == 0x11)
            .expect("MSI-X")
            .1
    }

    fn capabilities(&self) -> Vec<(u8, u16)> {
        let mut found = Vec::new();
        let mut at = [0];
        self.bus.config_read(slot(), 0x34, &mut at);
        while at[0] != 0 {
            let mut head = [0; 2];
            self.bus.config_read(slot(), at[0].into(), &mut head);
            found.push((head[0], at[0].into()));
            at[0] = head[1];
        }
        found
    }

    fn memory_of_rings(&self) -> Vec<u8> {
        let mut bytes = vec![0; 0x8000];
        self.memory
            .read_slice(&mut bytes, GuestAddress(RINGS))
            .expect("in memory");
        bytes
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !done() {
            assert!(std::time::Instant::now() < deadline, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

#[test]
fn a_driver_finds_its_way_from_the_capabilities_to_random_bytes() {
    let machine = machine();
    let kinds: Vec<u8> = machine
        .capabilities()
        .iter()
        .filter(|(id, _)| *id == 9)
        .map(|(_, at)| {
            let mut capability = [0; 16];
            machine.bus.config_read(slot(), *at, &mut capability);
            assert_eq!(capability[4], 0, "BAR 0");
            capability[3]
        })
        .collect();
    assert_eq!(kinds, [1, 2, 3, 4, 5]);
    let offered = machine.read(4, 4) | {
        machine.write(0, 4, 1);
        machine.read(4, 4) << 32
    };
    assert_eq!(offered, VERSION_1 | EVENT_IDX | INDIRECT_DESC);
    machine.write(0, 4, 2);
    assert_eq!(machine.read(4, 4), 0);
    machine.open_vector();
    machine.drive(VERSION_1, FEATURES_OK);
    let mut ring = machine.set_up_queue(8);
    machine.write(20, 1, u64::from(machine.status() | DRIVER_OK));
    assert_eq!(machine.status(), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    ring.chain(&[(DATA, 32, true)]);
    machine.write(layout::NOTIFY.offset, 2, 0);
    machine.wait("interrupt", || {
        !machine.messages.sent.lock().expect("lock").is_empty()
    });
    assert_eq!(ring.used(), [(0, 32)]);
    let sent = machine.messages.sent();
    assert_eq!((sent[0].data, sent[0].requester), (0x51, 3 << 3));
    assert_eq!(machine.read(layout::ISR.offset, 1), 1);
    assert_eq!(machine.read(layout::ISR.offset, 1), 0, "read clears it");
    assert_eq!(machine.bells.addresses(), [WINDOW_BASE + layout::NOTIFY.offset]);
    // Reset by the driver.
    machine.write(20, 1, 0);
    assert_eq!(
        (machine.status(), machine.read(28, 2), machine.read(24, 2)),
        (0, 0, 64)
    );
}

#[test]
fn features_are_agreed_upon_or_the_status_says_no() {
    for bad in [0, EVENT_IDX, VERSION_1 | 1, VERSION_1 | 1 << 63] {
        let machine = machine();
        machine.drive(bad, FEATURES_OK);
        assert_eq!(machine.status(), ACKNOWLEDGE | DRIVER, "{bad:#x}");
        machine.write(20, 1, 0xf);
        assert_eq!(machine.status(), ACKNOWLEDGE | DRIVER, "{bad:#x}");
    }
    let machine = machine();
    machine.drive(VERSION_1, FEATURES_OK);
    machine.write(8, 4, 0);
    machine.write(12, 4, EVENT_IDX);
    assert_eq!(machine.read(12, 4), 0, "too late");
}

#[test]
fn status_bits_come_in_their_order_and_do_not_go() {
    for value in [DRIVER, FEATURES_OK, DRIVER_OK, DRIVER | FEATURES_OK | DRIVER_OK] {
        let machine = machine();
        machine.write(20, 1, value.into());
        assert_eq!(machine.status(), 0, "{value}");
    }
    let machine = machine();
    machine.drive(VERSION_1, FEATURES_OK);
    machine.write(20, 1, 1);
    assert_eq!(machine.status(), ACKNOWLEDGE | DRIVER | FEATURES_OK);
    machine.write(20, 1, 0x40);
    assert_eq!(
        machine.status() & DEVICE_NEEDS_RESET,
        0,
        "not the driver's to set"
    );
    machine.write(20, 1, FAILED.into());
    machine.write(20, 1, u64::from(machine.status() | DRIVER_OK));
    assert_eq!(machine.status() & (DRIVER_OK | FAILED), FAILED);
}

#[test]
fn hazard_the_queue_size_is_fixed_once_the_queue_is() {
    let machine = machine();
    for bad in [0, 3, 65, 128, 0x8000, 0xffff] {
        machine.write(24, 2, bad);
        assert_eq!(machine.read(24, 2), 64, "{bad}");
    }
    machine.drive(VERSION_1, FEATURES_OK);
    machine.set_up_queue(8);
    for when in ["enabled", "running"] {
        for (offset, len, value) in [
            (24, 2, 64),
            (32, 8, 0x8000),
            (40, 8, 0x8000),
            (48, 8, 0x8000),
            (28, 2, 0),
        ] {
            let before = machine.read(offset, len);
            machine.write(offset, len, value);
            assert_eq!(machine.read(offset, len), before, "{offset} {when}");
        }
        machine.write(20, 1, 0xf);
    }
}

#[test]
fn hazard_rings_outside_memory_need_a_reset_and_a_reset_helps() {
    let machine = machine();
    machine.drive(VERSION_1, FEATURES_OK);
    machine.write(32, 8, 0xffff_ffff_ffff_fff0);
    machine.write(28, 2, 1);
    machine.write(20, 1, 0xf);
    assert_eq!(machine.status() & DEVICE_NEEDS_RESET, DEVICE_NEEDS_RESET);
    machine.write(20, 1, 0);
    assert_eq!(machine.status(), 0);
    machine.drive(VERSION_1, DRIVER_OK);
    assert_eq!(machine.status(), 0xf);
    // No queue at all.
    machine.write(20, 1, 0);
    machine.drive(VERSION_1, FEATURES_OK);
    machine.write(20, 1, 0xf);
    assert_eq!(machine.status() & DEVICE_NEEDS_RESET, DEVICE_NEEDS_RESET);
}

#[test]
fn hazard_accesses_of_every_size_at_every_offset_of_the_bar() {
    let machine = machine();
    machine.drive(VERSION_1, FEATURES_OK);
    let edges = [
        layout::COMMON,
        layout::ISR,
        layout::DEVICE,
        layout::NOTIFY,
        layout::MSIX_TABLE,
        layout::MSIX_PENDING,
    ];
    let mut offsets: Vec<u64> = (0..0x48).collect();
    for part in edges {
        let end = part.offset + part.size;
        offsets.extend(part.offset.saturating_sub(9)..part.offset + 9);
        offsets.extend(end - 9..end + 9);
    }
    offsets.extend(layout::BAR_SIZE - 9..layout::BAR_SIZE);
    for offset in offsets {
        for len in 1..=8 {
            if offset < 0x3c && layout::register(offset, len).is_none() {
                assert_eq!(machine.read(offset, len), 0, "{offset} {len}");
                let before = machine.function.state().common;
                machine.write(offset, len, u64::MAX);
                assert_eq!(machine.function.state().common, before, "{offset} {len}");
            } else {
                machine.read(offset, len);
                if offset >= 0x3c {
                    machine.write(offset, len, u64::MAX);
                }
            }
        }
    }
    assert_eq!(machine.status(), ACKNOWLEDGE | DRIVER | FEATURES_OK);
}

#[test]
fn the_configuration_window_reaches_the_registers_and_nothing_else() {
    let machine = machine();
    let window = machine.capabilities()[4].1;
    let set = |offset: u16, value: u32| {
        machine
            .bus
            .config_write(slot(), window + offset, &value.to_le_bytes())
    };
    let data = || {
        let mut bytes = [0; 4];
        machine.bus.config_read(slot(), window + 16, &mut bytes);
        u32::from_le_bytes(bytes)
    };
    set(8, 18);
    set(12, 2);
    assert_eq!(data() & 0xffff, 1, "number of queues");
    set(8, 20);
    set(12, 1);
    set(16, 1);
    assert_eq!(machine.status(), ACKNOWLEDGE);
    for (bar, offset, len) in [
        (1, 0, 4),
        (0, 0x8000, 4),
        (0, 0x7ffe, 4),
        (0, u32::MAX, 4),
        (0, 1, 2),
        (0, 0, 3),
        (0, 0, 0),
        (0, 20, u32::MAX),
    ] {
        machine.bus.config_write(slot(), window + 4, &[bar]);
        set(8, offset);
        set(12, len);
        set(16, 3);
        data();
        assert_eq!(machine.status(), ACKNOWLEDGE, "{bar} {offset:#x} {len}");
    }
    // Every access of configuration space, of every size.
    for offset in 0..0x110 {
        for len in [1, 2, 4] {
            let mut bytes = vec![0; len];
            machine.bus.config_read(slot(), offset, &mut bytes);
            machine.bus.config_write(slot(), offset, &vec![0xff; len]);
            machine.bus.config_write(slot(), offset, &bytes);
        }
    }
}

#[test]
fn doorbells_follow_the_bar() {
    let machine = machine();
    machine
        .bus
        .config_write(slot(), 0x10, &0xd000_0000_u32.to_le_bytes());
    assert_eq!(machine.bells.addresses(), [0xd000_0000 + layout::NOTIFY.offset]);
    machine.bus.config_write(slot(), 0x10, &u32::MAX.to_le_bytes());
    assert!(machine.bells.addresses().is_empty());
    machine.bus.reset().expect("as at power-on");
    assert_eq!(machine.bells.addresses(), [WINDOW_BASE + layout::NOTIFY.offset]);
}

#[test]
fn a_saved_function_goes_on_in_a_fresh_one() {
    let machine = machine();
    machine.open_vector();
    machine.drive(VERSION_1, FEATURES_OK);
    let mut ring = machine.set_up_queue(8);
    machine.write(20, 1, 0xf);
    ring.chain(&[(DATA, 8, true)]);
    machine.write(layout::NOTIFY.offset, 2, 0);
    machine.wait("served", || ring.completed() == 1);
    machine.function.pause();
    ring.chain(&[(DATA, 16, true)]);
    let state = machine.function.state();
    let text = serde_json::to_string(&state).expect("serializes");

    let fresh = self::machine();
    let bytes = machine.memory_of_rings();
    fresh
        .memory
        .write_slice(&bytes, GuestAddress(RINGS))
        .expect("in memory");
    fresh
        .function
        .restore(&serde_json::from_str(&text).expect("reads back"))
        .expect("the same device");
    fresh.bus.remap();
    let completed = || {
        fresh
            .memory
            .read_obj::<u16>(GuestAddress(RINGS + 0x3002))
            .expect("in memory")
    };
    // Held: not a byte of memory changes, though a request waits.
    let before = fresh.memory_of_rings();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!((completed(), fresh.memory_of_rings() == before), (1, true));
    fresh.function.resume();
    fresh.wait("goes on", || completed() == 2);
    fresh.wait("interrupt", || {
        fresh.messages.sent().iter().any(|message| message.data == 0x51)
    });
    assert_eq!(fresh.status(), 0xf);
    // A hostile state is refused or harmless.
    let mut bad = state.clone();
    bad.common.queues[0].ring.size = 0x8000;
    assert!(fresh.function.restore(&bad).is_err());
    let mut bad = state;
    bad.common.queues.clear();
    assert!(fresh.function.restore(&bad).is_err());
}

#[test]
fn a_machine_reset_brings_everything_back() {
    let machine = machine();
    machine.open_vector();
    machine.drive(VERSION_1, DRIVER_OK);
    machine.bus.reset().expect("as at power-on");
    assert_eq!(
        (machine.status(), machine.read(layout::MSIX_TABLE.offset + 16, 8)),
        (0, 0)
    );
    machine.open_vector();
    machine.drive(VERSION_1, DRIVER_OK);
    assert_eq!(machine.status(), 0xf);
    assert_eq!(machine.function.decoded(0).expect("decoded").0, WINDOW_BASE);
}

#[test]
fn a_device_that_vanished_is_an_empty_slot_whose_registers_still_answer() {
    let machine = machine();
    machine.drive(VERSION_1, DRIVER_OK);
    machine.function.vanish();
    let mut identity = [0; 4];
    machine.bus.config_write(slot(), 4, &[0, 0]);
    machine.bus.config_read(slot(), 0, &mut identity);
    assert_eq!(identity, [0xff; 4]);
    // A driver that lets go of it waits for the end of its reset.
    machine.write(20, 1, 0);
    assert_eq!(machine.status(), 0);
}
