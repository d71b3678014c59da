//! Virtio devices over guest memory whose every byte is the driver's.
//!
//! ```text
//!  input: setup (24 bytes) | pieces of memory (sparse)        memory: 0 .. 64 KiB | hole | 128 KiB .. 192 KiB
//! ```

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use kiln_vmm::memory::GuestMemory;
use kiln_vmm::virtio::balloon;
use kiln_vmm::virtio::block::serve_all;
use kiln_vmm::virtio::console::{Port, PortBackend, PortInput, PortRole, PortSpec, serve_rounds};
use kiln_vmm::virtio::net::{self, MacAddress};
use kiln_vmm::virtio::{
    Activation, Begin, EVENT_IDX, INDIRECT_DESC, Interrupt, QueueError, QueueState, VERSION_1, VirtQueue,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use crate::disk::Ram;
use crate::sparse;

/// Bytes of each of the two regions.
const REGION: usize = 64 << 10;
/// Where the second one begins.
const SECOND: u64 = 128 << 10;
/// Bytes of an input before the memory's.
const SETUP: usize = 24;
/// Entries of the queues.
const ENTRIES: u16 = 64;

/// Counts how often the driver was told that it is broken.
#[derive(Default)]
struct Told(Mutex<u32>);

impl Interrupt for Told {
    fn used_buffers(&self, _: u16) {}
    fn config_changed(&self) {}
    fn needs_reset(&self, why: &QueueError) {
        assert!(!why.to_string().is_empty());
        *self.0.lock().expect("nothing panics that holds it") += 1;
    }
}

/// A driver: its features, where it says that its rings are, and the memory that holds them.
struct Driver {
    setup: [u8; SETUP],
    memory: GuestMemory,
    told: Arc<Told>,
}

impl Driver {
    fn new(input: &[u8]) -> Option<Driver> {
        let (setup, rest) = input.split_first_chunk()?;
        let bytes = sparse::unpack(rest);
        let regions = [(GuestAddress(0), REGION), (GuestAddress(SECOND), REGION)];
        let memory = GuestMemoryMmap::from_ranges(&regions).ok()?;
        let (first, second) = bytes.split_at(bytes.len().min(REGION));
        memory.write_slice(first, GuestAddress(0)).ok()?;
        let second = second.get(..REGION).unwrap_or(second);
        memory.write_slice(second, GuestAddress(SECOND)).ok()?;
        let told = Arc::new(Told::default());
        Some(Driver {
            setup: *setup,
            memory,
            told,
        })
    }

    fn word(&self, nth: usize) -> u16 {
        u16::from_le_bytes([self.setup[2 * nth], self.setup[2 * nth + 1]])
    }

    fn features(&self) -> u64 {
        let chosen = u64::from(self.word(0));
        VERSION_1
            | chosen & 0xfff
            | if chosen & 0x1000 != 0 { EVENT_IDX } else { 0 }
            | if chosen & 0x2000 != 0 { INDIRECT_DESC } else { 0 }
    }

    /// A device with so many queues starts.
    fn activation(&self, queues: u16) -> Activation {
        Activation {
            begin: Begin::Running,
            memory: self.memory.clone(),
            queues: (0..queues).map(|index| self.queue(index)).collect(),
            kicks: (0..queues)
                .map(|_| EventFd::new(0).expect("a descriptor can be had"))
                .collect(),
            interrupt: Arc::clone(&self.told) as Arc<dyn Interrupt>,
            features: self.features(),
        }
    }

    /// Queue `index`: a place of its own for each, one of the driver's choice for the first.
    fn queue(&self, index: u16) -> Option<VirtQueue> {
        let start = u64::from(index) << 12;
        let state = QueueState {
            size: 1 << (self.word(1) & 15).min(6),
            descriptors: start + u64::from(self.word(2) >> index.min(1)),
            available: start + u64::from(self.word(3) >> index.min(1)),
            used: start + u64::from(self.word(4) >> index.min(1)),
            next_available: self.word(5),
            next_used: self.word(6),
        };
        let interrupt = Arc::clone(&self.told) as Arc<dyn Interrupt>;
        VirtQueue::new(
            index,
            ENTRIES,
            &state,
            self.memory.clone(),
            interrupt,
            self.features(),
        )
        .ok()
    }
}

/// A ring: every request taken, read, written and given back. Whether there was one.
pub fn queue(input: &[u8]) -> bool {
    let Some(driver) = Driver::new(input) else {
        return false;
    };
    let Some(mut queue) = driver.queue(0) else {
        return false;
    };
    let mut taken = 0;
    let mut bytes = [0; 600];
    while let Ok(Some(chain)) = queue.pop() {
        taken += 1;
        for at in [0, 17] {
            let len = chain.readable_len().saturating_sub(at).min(600) as usize;
            let _ = chain.read_at(&driver.memory, at, &mut bytes[..len]);
            let _ = chain.write_at(&driver.memory, at, &bytes[..len]);
        }
        let _ = chain.readable(&driver.memory, 1, chain.readable_len());
        let _ = chain.writable(&driver.memory, 0, chain.writable_len());
        if taken % 5 == 4 {
            queue.put_back(chain);
            continue;
        }
        if queue.complete(&chain, 1).and_then(|()| queue.notify()).is_err() || taken > 1 << 17 {
            break;
        }
    }
    let _ = queue.rearm();
    assert!(
        *driver.told.0.lock().expect("nothing panics that holds it") <= 1,
        "told more than once"
    );
    taken > 0
}

/// A block device's ring: every request is done. Whether the disk was written.
pub fn block(input: &[u8]) -> bool {
    let Some(driver) = Driver::new(input) else {
        return false;
    };
    let Some(mut queue) = driver.queue(0) else {
        return false;
    };
    let disk = Ram::new(vec![7; 1 << 20]);
    serve_all(disk.as_ref(), &mut queue, driver.features());
    let mut bytes = vec![0; 1 << 20];
    kiln_imagefmt::read_exact_at(disk.as_ref(), 0, &mut bytes).expect("it is in memory");
    bytes.iter().any(|byte| *byte != 7)
}

/// Takes as many bytes as it likes.
pub(crate) struct Backend;

impl PortBackend for Backend {
    fn guest_wrote(&self, bytes: &[u8]) -> usize {
        bytes.len() - bytes.len() / 3
    }
}

/// A console of two ports. Whether it had something to do.
pub fn console(input: &[u8]) -> bool {
    let Some(driver) = Driver::new(input) else {
        return false;
    };
    let port = |role, name: Option<&str>| {
        let input = PortInput::new().expect("a descriptor can be had");
        input.write(b"what the host says");
        let name = name.map(str::to_owned);
        Port::new(PortSpec { name, role }, input, Arc::new(Backend))
    };
    let ports = vec![
        port(PortRole::Console, None),
        port(PortRole::Agent, Some("agent")),
    ];
    serve_rounds(ports, driver.activation(6), 1 << 12).is_ok_and(|rounds| rounds > 0)
}

/// The address of a network card.
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A network card: what its other side sends (after its length, 16 bits), then the driver. Whether a frame came or went.
pub fn network(input: &[u8]) -> bool {
    let Some((len, rest)) = input.split_first_chunk() else {
        return false;
    };
    let (sent, rest) = rest.split_at(rest.len().min(u16::from_le_bytes(*len).into()));
    let Some(driver) = Driver::new(rest) else {
        return false;
    };
    let (socket, mut cable) = UnixStream::pair().expect("sockets can be had");
    cable.set_nonblocking(true).expect("it is a socket");
    // What does not fit is not sent.
    let _ = cable.write(sent);
    let mut activation = driver.activation(2);
    if driver.word(7) & 1 != 0 {
        activation.features |= net::MRG_RXBUF;
    }
    let own = MacAddress::new(OWN).expect("it is a card's");
    let moved = net::serve_turns(activation, own, socket.into(), 1 << 8);
    let mut arrived = Vec::new();
    let _ = cable.read_to_end(&mut arrived);
    let mut left = arrived.as_slice();
    while let Some((len, rest)) = left.split_first_chunk() {
        let len = u32::from_be_bytes(*len) as usize;
        assert!(
            rest.get(6..12) == Some(&OWN) && len >= 14,
            "a frame that may not be sent"
        );
        left = rest.get(len..).unwrap_or_default();
    }
    moved.is_ok_and(|frames| frames > 0)
}

/// A balloon: pages put in and taken out, and ranges that are free. Whether a request was done.
pub fn balloon(input: &[u8]) -> bool {
    let Some(driver) = Driver::new(input) else {
        return false;
    };
    balloon::serve_turns(driver.activation(3), 1 << 12).is_ok_and(|queues| queues > 0)
}
