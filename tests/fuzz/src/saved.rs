//! A machine's saved state, as a stranger made it up.

use std::cell::OnceCell;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_vmm::arch::native::{Board, BoardState};
use kiln_vmm::machine::state::MachineState;
use kiln_vmm::memory::HugePages;
use kiln_vmm::pci::{Doorbells, MsiMessage, MsiRouter, MsiVector, PciBus, PciBusState, Slot};
use kiln_vmm::saved::state_file;
use kiln_vmm::virtio::balloon::Balloon;
use kiln_vmm::virtio::block::{Block, Serial};
use kiln_vmm::virtio::console::{Console, Port, PortInput, PortRole, PortSpec};
use kiln_vmm::virtio::net::{MacAddress, Net, NetSpec};
use kiln_vmm::virtio::rng::{Rng, RngSpec};
use kiln_vmm::virtio::transport::{VirtioPci, VirtioPciState, Wiring};
use kiln_vmm::virtio::{ThreadSetup, VirtioDevice};
use vm_memory::{GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use crate::device::Backend;
use crate::disk::Ram;

/// A host whose interrupts and doorbells lead nowhere.
struct Nowhere;

impl MsiRouter for Nowhere {
    fn add(&self, _: MsiMessage) -> io::Result<Arc<dyn MsiVector>> {
        Ok(Arc::new(Nowhere))
    }
}

impl MsiVector for Nowhere {
    fn signal(&self) -> io::Result<()> {
        Ok(())
    }

    fn update(&self, _: MsiMessage) -> io::Result<()> {
        Ok(())
    }
}

impl Doorbells for Nowhere {
    fn register(&self, _: u64, _: &EventFd) -> io::Result<()> {
        Ok(())
    }

    fn unregister(&self, _: u64, _: &EventFd) -> io::Result<()> {
        Ok(())
    }
}

/// All devices of a machine without KVM.
pub(crate) struct Machine {
    board: Board,
    pub(crate) pci: Arc<PciBus>,
    functions: Vec<Arc<VirtioPci>>,
}

/// What of a state the devices read.
type Devices = (BoardState, PciBusState, Vec<VirtioPciState>);

impl Machine {
    pub(crate) fn new() -> Machine {
        let setup: Arc<dyn ThreadSetup> = Arc::new(());
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]);
        let wiring = Wiring {
            memory: memory.expect("a megabyte can be had"),
            router: Arc::new(Nowhere),
            doorbells: Arc::new(Nowhere),
        };
        let input = PortInput::new().expect("a descriptor can be had");
        let spec = PortSpec {
            name: None,
            role: PortRole::Console,
        };
        let console = Console::new(
            vec![Port::new(spec, input, Arc::new(Backend))],
            Arc::clone(&setup),
        );
        let block = Block::new("disk", Ram::new(vec![0; 1 << 20]), Serial::default(), 2, &setup);
        let balloon = Balloon::new(1 << 20, HugePages::default(), Arc::clone(&setup));
        let card = NetSpec {
            mac: MacAddress::new([2, 0, 0, 0, 0, 1]).expect("it is a card's"),
            mtu: None,
            socket: PathBuf::new(),
        };
        let (socket, _) = UnixStream::pair().expect("sockets can be had");
        let card = Net::new(&card, socket.into(), Arc::clone(&setup));
        let devices: [Box<dyn VirtioDevice>; 5] = [
            Box::new(block.expect("threads can be had")),
            Box::new(Rng::new(&RngSpec::default(), setup).expect("a thread can be had")),
            Box::new(console.expect("a thread can be had")),
            Box::new(balloon.expect("a thread can be had")),
            Box::new(card.expect("a thread can be had")),
        ];
        let pci = Arc::new(PciBus::new());
        let attach = |(number, device)| {
            let slot = Slot::new(number).expect("below 32");
            VirtioPci::attach(device, slot, &pci, wiring.clone()).expect("the slot is free")
        };
        let functions = (1..).zip(devices).map(attach).collect();
        Machine {
            board: Board::unwired(Arc::new(|_| {})).expect("descriptors can be had"),
            pci,
            functions,
        }
    }

    /// Gives the devices their state and lets them go on for a moment; whether each took it.
    fn restore(&self, (board, pci, functions): &Devices) -> bool {
        let mut is_taken = self.board.restore(board).is_ok();
        self.pci.restore(pci);
        for (function, state) in self.functions.iter().zip(functions) {
            is_taken &= function.restore(state).is_ok();
        }
        self.pci.remap();
        for function in &self.functions {
            function.resume();
            function.pause();
        }
        // What can be saved again can be read again.
        let again = serde_json::to_vec(&self.state()).expect("plain data");
        serde_json::from_slice::<Devices>(&again).expect("it was just written");
        self.pci.reset().expect("everything fitted when it was added");
        is_taken
    }

    fn state(&self) -> Devices {
        let functions = self.functions.iter().map(|function| function.state());
        (self.board.state(), self.pci.state(), functions.collect())
    }
}

thread_local! {
    /// Made once: its threads are what would cost most.
    static MACHINE: OnceCell<Machine> = const { OnceCell::new() };
}

/// A state's file, a whole state, and the devices' part of one. Whether the devices took it.
pub fn state(input: &[u8]) -> bool {
    let _ = state_file::from_bytes::<MachineState>(input);
    let _ = serde_json::from_slice::<MachineState>(input);
    let Ok(devices) = serde_json::from_slice::<Devices>(input) else {
        return false;
    };
    MACHINE.with(|machine| machine.get_or_init(Machine::new).restore(&devices))
}

/// The state of devices as at power-on: what fuzzing begins with.
pub fn fresh() -> Vec<u8> {
    serde_json::to_vec(&Machine::new().state()).expect("plain data")
}
