//! Rings in guest memory.

use kiln_fuzz::{device, firmware, pci, sparse};

use crate::plant;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// An input: the rings of queue *n* are at *n* times 4 KiB (table at 0, available ring at 0x400, used ring at 0x800),
/// 16 entries each, and `put` fills the memory.
fn driver(features: u16, put: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let setup: [u16; 12] = [features, 4, 0, 0x400, 0x800, 0, 0, 0, 0, 0, 0, 0];
    let mut memory = vec![0; 128 << 10];
    put(&mut memory);
    [setup.map(u16::to_le_bytes).concat(), sparse::pack(&memory)].concat()
}

/// Writes a chain of (address, length, flags) from descriptor `first` on, and makes it available in queue `queue`.
fn offer(memory: &mut [u8], queue: usize, first: u16, buffers: &[(u64, u32, u16)]) {
    // The first queue's rings are where the setup says, the others' at half of it.
    let (base, available) = (queue << 12, if queue == 0 { 0x400 } else { 0x200 });
    for (nth, (address, len, flags)) in (first..).zip(buffers) {
        let last = usize::from(nth - first) + 1 == buffers.len();
        let flags = flags | if last { 0 } else { NEXT };
        let at = base + usize::from(nth) * 16;
        memory[at..at + 8].copy_from_slice(&address.to_le_bytes());
        memory[at + 8..at + 12].copy_from_slice(&len.to_le_bytes());
        memory[at + 12..at + 14].copy_from_slice(&flags.to_le_bytes());
        memory[at + 14..at + 16].copy_from_slice(&(nth + 1).to_le_bytes());
    }
    let index = base + available + 2;
    let offered = u16::from_le_bytes([memory[index], memory[index + 1]]);
    let slot = index + 2 + usize::from(offered % 16) * 2;
    memory[slot..slot + 2].copy_from_slice(&first.to_le_bytes());
    memory[index..index + 2].copy_from_slice(&(offered + 1).to_le_bytes());
}

/// The header of a block request at `at`.
fn request(memory: &mut [u8], at: usize, kind: u32, sector: u64) {
    memory[at..at + 4].copy_from_slice(&kind.to_le_bytes());
    memory[at + 8..at + 16].copy_from_slice(&sector.to_le_bytes());
}

#[test]
fn rings_with_plain_and_indirect_chains_are_served() {
    let plain = driver(0, |memory| {
        offer(memory, 0, 0, &[(0x8000, 100, 0), (0x8100, 200, WRITE)]);
        offer(memory, 0, 2, &[(0x2_0000, 0x100, 0), (0xfff0, 16, WRITE)]);
    });
    let indirect = driver(0x3000, |memory| {
        offer(memory, 0, 0, &[(0x9000, 32, INDIRECT)]);
        offer(memory, 9, 0, &[(0x8000, 8, 0), (0x8100, 8, WRITE)]);
    });
    plant("virtqueue", device::queue, &[plain, indirect]);
}

#[test]
fn block_requests_of_every_kind_are_done() {
    let write = driver(0x200, |memory| {
        request(memory, 0x8000, 1, 3);
        offer(
            memory,
            0,
            0,
            &[(0x8000, 16, 0), (0x8200, 1024, 0), (0x8100, 1, WRITE)],
        );
        request(memory, 0x8800, 0, 3);
        offer(
            memory,
            0,
            3,
            &[(0x8800, 16, 0), (0xa000, 1024, WRITE), (0x8101, 1, WRITE)],
        );
        request(memory, 0x8a00, 4, 0);
        offer(memory, 0, 6, &[(0x8a00, 16, 0), (0x8102, 1, WRITE)]);
        request(memory, 0x8c00, 8, 0);
        offer(
            memory,
            0,
            8,
            &[(0x8c00, 16, 0), (0xb000, 20, WRITE), (0x8103, 1, WRITE)],
        );
    });
    let ranges = driver(0, |memory| {
        for (nth, kind) in [11, 13].into_iter().enumerate() {
            let at = 0x8000 + nth * 0x200;
            request(memory, at, kind, 0);
            memory[at + 16..at + 24].copy_from_slice(&8_u64.to_le_bytes());
            memory[at + 24..at + 28].copy_from_slice(&16_u32.to_le_bytes());
            offer(
                memory,
                0,
                2 * nth as u16,
                &[(at as u64, 32, 0), (0xc000 + nth as u64, 1, WRITE)],
            );
        }
    });
    plant("block", device::block, &[write, ranges]);
}

#[test]
fn a_console_hears_and_is_heard() {
    let multiport = driver(2, |memory| {
        // The driver is there, and opens both ports.
        for (nth, message) in [
            [0_u8, 0, 0, 0, 0, 0, 1, 0],
            [1, 0, 0, 0, 3, 0, 1, 0],
            [1, 0, 0, 0, 6, 0, 1, 0],
        ]
        .iter()
        .enumerate()
        {
            let at = 0x8000 + nth * 0x200;
            memory[at..at + 8].copy_from_slice(message);
            offer(memory, 3, nth as u16, &[(at as u64, 8, 0)]);
            offer(memory, 2, nth as u16, &[(0xa000 + 64 * nth as u64, 64, WRITE)]);
        }
        offer(memory, 5, 0, &[(0xb000, 500, 0)]);
        offer(memory, 4, 0, &[(0xc000, 64, WRITE)]);
    });
    let simple = driver(0, |memory| {
        offer(memory, 1, 0, &[(0xb000, 500, 0)]);
        offer(memory, 0, 0, &[(0xc000, 64, WRITE)]);
    });
    plant("console", device::console, &[multiport, simple]);
}

/// Numbers of pages in memory and outside of it, and a request that names them.
fn name(memory: &mut [u8], queue: usize, at: usize, pages: &[u32]) {
    for (number, place) in pages.iter().zip(memory[at..].chunks_mut(4)) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    offer(memory, queue, 0, &[(at as u64, 4 * pages.len() as u32, 0)]);
}

#[test]
fn a_balloon_is_filled_emptied_and_told_what_is_free() {
    const OFFERED: u16 = 0x24;
    let fill = driver(OFFERED, |memory| name(memory, 0, 0xb000, &[9, 10, 32, 33, 34]));
    let empty = driver(OFFERED, |memory| name(memory, 1, 0xb400, &[10, 9, 32]));
    let free = driver(OFFERED, |memory| {
        offer(
            memory,
            2,
            0,
            &[(0xc000, 0x2000, WRITE), (0x2_0100, 0x4000, WRITE)],
        );
    });
    let all = driver(OFFERED, |memory| {
        name(memory, 0, 0xb000, &[9, 10, 15, 16]);
        name(memory, 1, 0xb400, &[15]);
        offer(
            memory,
            2,
            0,
            &[(0xe000, 0x2000, WRITE), (0x10_0000, 0x1000, WRITE)],
        );
    });
    plant("balloon", device::balloon, &[fill, empty, free, all]);
}

#[test]
fn frames_come_to_a_network_card_and_go() {
    let frame = |source: u8, len: u32| {
        let mut frame = vec![0; len as usize];
        frame[6] = 2;
        frame[11] = source;
        frame
    };
    let sent = |frames: &[Vec<u8>]| {
        let each = frames.iter();
        let bytes: Vec<u8> = each
            .flat_map(|frame| [&(frame.len() as u32).to_be_bytes()[..], frame].concat())
            .collect();
        [&(bytes.len() as u16).to_le_bytes()[..], &bytes].concat()
    };
    let lend = |memory: &mut [u8]| {
        for nth in 0..8 {
            offer(memory, 0, nth, &[(0xa000 + u64::from(nth) * 128, 128, WRITE)]);
        }
    };
    let one = driver(0, lend);
    let mut merged = driver(0, lend);
    merged[14] = 1;
    let out = driver(0, |memory| {
        for (nth, (source, len)) in [(1, 60), (2, 60), (1, 1514)].into_iter().enumerate() {
            let at = 0x8000 + nth * 0x800;
            memory[at + 12..at + 12 + len].copy_from_slice(&frame(source, len as u32));
            offer(memory, 1, nth as u16, &[(at as u64, 12 + len as u32, 0)]);
        }
    });
    let both = [frame(9, 60), frame(9, 300)];
    plant(
        "network",
        device::network,
        &[
            [sent(&both), one].concat(),
            [sent(&both), merged].concat(),
            [sent(&[]), out].concat(),
        ],
    );
}

#[test]
fn a_state_of_fresh_and_of_started_devices_is_taken() {
    let fresh = kiln_fuzz::saved::fresh();
    let mut state: serde_json::Value = serde_json::from_slice(&fresh).unwrap();
    // The entropy device with its queue at work, its vector open, and a message pending.
    let rng = &mut state[2][1];
    rng["status"] = 15.into();
    rng["common"]["driver_features"] = (1_u64 << 32).into();
    rng["common"]["queues"][0]["enabled"] = true.into();
    for (place, address) in [("descriptors", 0x1000), ("available", 0x2000), ("used", 0x3000)] {
        rng["common"]["queues"][0]["ring"][place] = address.into();
    }
    rng["msix"]["entries"][1] = serde_json::json!([0xfee0_0000_u32, 0x41, 0]);
    rng["msix"]["pending"][1] = true.into();
    let started = serde_json::to_vec(&state).unwrap();
    plant("saved_state", kiln_fuzz::saved::state, &[fresh, started]);
}

#[test]
fn bars_are_sized_and_moved_by_both_ways_of_configuration() {
    const ECAM: u64 = 0xb000_0000;
    // The first device's BAR 0, and its command register; sizes are 2 to the power of 2 and 1.
    let slot = ECAM + (1 << 15);
    let by_memory = [
        pci::write(0, 2, slot + 0x10, 0xffff_ffff),
        pci::write(0, 2, slot + 0x10, 0xc800_0000),
        pci::write(0, 1, slot + 4, 6),
        pci::write(2, 0, 0xc000_0014, 1),
        pci::write(2, 0, 0xc000_0014, 3),
    ];
    let by_ports = [
        pci::write(1, 2, 0xcf8, 1 << 31 | 1 << 11 | 0x10),
        pci::write(1, 2, 0xcfc, 0xd000_0000),
        pci::write(1, 2, 0xcf8, 1 << 31 | 2 << 11 | 0x14),
        pci::write(1, 2, 0xcfc, 1),
    ];
    plant(
        "pci_config",
        pci::accesses,
        &[by_memory.concat(), by_ports.concat()],
    );
}

#[test]
fn the_devices_that_firmware_needs() {
    // Sizes: 0 and 1 are a byte read and written, 3 two bytes written, 5 four. The request at 0x10: select file 0x21,
    // which is for writing, and write 8 bytes from 0x40.
    let mut memory = vec![0x5a; 512];
    memory[0x10..0x20].copy_from_slice(&[0, 0x21, 0, 0x18, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0x40]);
    let put = |place: u8, size: u8, value: u64| [&[place, size][..], &value.to_le_bytes()].concat();
    let written = [
        put(4, 5, 0),
        put(8, 5, 0x1000_0000),
        put(0, 3, 0x19),
        put(1, 0, 0),
    ]
    .concat();
    plant("fw_cfg", firmware::fw_cfg, &[[memory, written].concat()]);
    let command = |place: u16, value: u64| [&place.to_le_bytes()[..], &[1], &value.to_le_bytes()].concat();
    let erased = [command(0, 0x20), command(0, 0xd0)].concat();
    let programmed = [command(8, 0x10), command(8, 0x55), command(8, 0xff)].concat();
    plant("flash", firmware::flash, &[[erased, programmed].concat()]);
}
