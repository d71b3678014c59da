//! A driver that means harm, without a guest around it: every port, configuration byte, register and queue
//! field that the layout tables name is written with edge values, in every state of its device, through the
//! buses to which a vCPU's exits go. That the same holds for instructions of a guest, in a whole machine, is
//! shown by `tests/instance/hostile.rs`.

mod configuration;
mod driver;
mod firmware;
mod outside;
mod ports;
mod registers;
mod request;
mod rings;
mod vectors;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::arch::x86_64::board::Board;
use crate::bus::Bus;
use crate::legacy::PowerEvent;
use crate::memory::{GuestMemory, HugePages};
use crate::pci::fake::{Bells, Messages, Router};
use crate::pci::{PciBus, Slot};
use crate::virtio::balloon::Balloon;
use crate::virtio::block::{Block, Serial};
use crate::virtio::console::{Console, Port, PortBackend, PortInput, PortRole, PortSpec};
use crate::virtio::net::{MacAddress, Net, NetSpec};
use crate::virtio::ring::{END, memory};
use crate::virtio::rng::{Rng, RngSpec};
use crate::virtio::transport::{VirtioPci, Wiring};
use crate::virtio::{ThreadSetup, VirtioDevice};
use driver::Driver;
use firmware::Firmware;
use kiln_imagefmt::{Access, RawDisk};

/// Bytes of the disk.
const DISK: u64 = 1 << 20;
/// Edge values of `len` bytes: 0, all ones and one less, both sides of the sign, and every single bit.
fn edges(len: usize) -> Vec<u64> {
    let bits = 8 * len as u32;
    let ones = u64::MAX >> (64 - bits);
    let mut values: Vec<u64> = (0..bits)
        .map(|bit| 1 << bit)
        .chain([0, ones >> 1, ones - 1, ones])
        .collect();
    values.sort_unstable();
    values
}

/// All that a vCPU reaches by its exits.
struct Target {
    ports: Bus,
    memory: Bus,
    pci: Arc<PciBus>,
    functions: Vec<Arc<VirtioPci>>,
    board: Board,
    firmware: Firmware,
    ram: GuestMemory,
    messages: Arc<Messages>,
    /// What the guest asked for, in words, each once.
    asked: Arc<Mutex<Vec<String>>>,
    /// Of the console's ports.
    inputs: [PortInput; 2],
    /// The other side of the network card.
    cable: UnixStream,
}

/// Takes everything.
struct Taken;

impl PortBackend for Taken {
    fn guest_wrote(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }
}

fn devices(inputs: &[PortInput; 2], socket: UnixStream) -> Vec<Box<dyn VirtioDevice>> {
    let setup: Arc<dyn ThreadSetup> = Arc::new(());
    let file = tempfile::tempfile().expect("a file");
    file.set_len(DISK).expect("a length");
    let disk = Arc::new(RawDisk::open(file, Access::ReadWrite).expect("a disk"));
    let port = |name: Option<&str>, role, input: &PortInput| {
        let name = name.map(str::to_owned);
        Port::new(PortSpec { name, role }, input.clone(), Arc::new(Taken))
    };
    let [terminal, agent] = inputs;
    let ports = vec![
        port(None, PortRole::Console, terminal),
        port(Some("agent"), PortRole::Agent, agent),
    ];
    let card = NetSpec {
        mac: MacAddress::new([2, 0, 0, 0, 0, 1]).expect("an address"),
        mtu: Some(1500),
        socket: PathBuf::new(),
    };
    vec![
        Box::new(Block::new("hostile", disk, Serial::default(), 2, &setup).expect("threads")),
        Box::new(Rng::new(&RngSpec::default(), Arc::clone(&setup)).expect("a thread")),
        Box::new(Console::new(ports, Arc::clone(&setup)).expect("a thread")),
        Box::new(Net::new(&card, socket.into(), Arc::clone(&setup)).expect("a thread")),
        Box::new(Balloon::new(END, HugePages::default(), setup).expect("a thread")),
    ]
}

impl Target {
    fn new() -> Self {
        let (ports, memory_bus) = (Bus::new(), Bus::new());
        let (pci, ram) = (Arc::new(PciBus::new()), memory());
        let messages = Arc::new(Messages::default());
        let wiring = Wiring {
            memory: ram.clone(),
            router: Arc::new(Router(Arc::clone(&messages))),
            doorbells: Arc::new(Bells::default()),
        };
        let inputs = [(); 2].map(|()| PortInput::new().expect("an event"));
        let (socket, cable) = UnixStream::pair().expect("sockets");
        cable.set_nonblocking(true).expect("a socket");
        let functions = (1..).zip(devices(&inputs, socket)).map(|(number, device)| {
            let slot = Slot::new(number).expect("a slot");
            VirtioPci::attach(device, slot, &pci, wiring.clone()).expect("room")
        });
        let functions = functions.collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let power = Arc::new(move |event: PowerEvent| {
            let (event, mut heard) = (format!("{event:?}"), heard.lock().expect("lock"));
            if !heard.contains(&event) {
                heard.push(event);
            }
        });
        let board = Board::unwired(Arc::clone(&power) as _).expect("events");
        board.plug(&ports, &memory_bus, &pci, power).expect("room");
        let firmware = Firmware::plugged(&ports, &memory_bus, &pci, &ram);
        Self {
            ports,
            memory: memory_bus,
            pci,
            functions,
            board,
            firmware,
            ram,
            messages,
            asked,
            inputs,
            cable,
        }
    }

    fn drivers(&self) -> impl Iterator<Item = Driver<'_>> {
        (0..).zip(&self.functions).map(|(index, function)| Driver {
            target: self,
            index,
            function,
        })
    }

    /// Every device is what it was before: after a reset a driver that means well has it work.
    fn is_well(&self) {
        self.pci.reset().expect("as at power-on");
        self.firmware.is_well(&self.ports);
        for driver in self.drivers() {
            driver.is_served();
        }
    }
}
