//! Guests in machine code, and machines that run them with their serial port in a buffer.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kiln_vmm::arch::native::Board;
use kiln_vmm::boot::source::BootSource;
use kiln_vmm::control::MachineControl;
use kiln_vmm::exit_record::ExitRecord;
use kiln_vmm::kvm::Hypervisor;
use kiln_vmm::machine::exits::Counting;
use kiln_vmm::machine::{HostSide, Machine, OpenDisk, Ports, Remote, Saved};
use kiln_vmm::spec::{Boot, Device, MachineSpec, OnReset};
use kiln_vmm::virtio::block::{Backing, BlockSpec};
use kiln_vmm::virtio::console::{PortBackend, PortInput, PortSpec};

/// Long enough for a busy host.
const LONG: Duration = Duration::from_secs(300);
/// Where the code lies and is entered.
const CODE: u32 = 0x10_0000;

/// How a guest is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// PVH: 32-bit protected mode.
    Pvh,
    /// The 32-bit Linux boot protocol.
    Linux32,
    /// The 64-bit Linux boot protocol.
    Linux64,
}

/// Machine code. What is not said to be otherwise means the same in 32-bit and in 64-bit mode.
#[derive(Debug, Clone, Default)]
pub(crate) struct Code(Vec<u8>);

impl Code {
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn port(self, port: u16) -> Self {
        // mov dx, port
        self.bytes(&[0x66, 0xba]).bytes(&port.to_le_bytes())
    }

    pub(crate) fn out(self, port: u16, byte: u8) -> Self {
        // mov al, byte; out dx, al
        self.port(port).bytes(&[0xb0, byte, 0xee])
    }

    pub(crate) fn print(self, text: &str) -> Self {
        text.bytes().fold(self, |code, byte| code.out(0x3f8, byte))
    }

    /// Prints the four bytes of EAX, lowest first.
    pub(crate) fn print_eax(self) -> Self {
        // out dx, al; shr eax, 8
        (0..4).fold(self.port(0x3f8), |code, _| code.bytes(&[0xee, 0xc1, 0xe8, 0x08]))
    }

    /// Reads `size` bytes (1, 2 or 4) from `port` into EAX, whose other bytes are 0.
    pub(crate) fn input(self, port: u16, size: u8) -> Self {
        // xor eax, eax; in
        let code = self.port(port).bytes(&[0x31, 0xc0]);
        match size {
            1 => code.bytes(&[0xec]),
            2 => code.bytes(&[0x66, 0xed]),
            _ => code.bytes(&[0xed]),
        }
    }

    /// Writes `value` to `port`, 4 bytes.
    pub(crate) fn out_long(self, port: u16, value: u32) -> Self {
        // mov eax, value; out dx, eax
        self.port(port)
            .bytes(&[0xb8])
            .bytes(&value.to_le_bytes())
            .bytes(&[0xef])
    }

    /// 32-bit mode: writes `value` to memory at `address`.
    pub(crate) fn store(self, address: u32, value: u32) -> Self {
        self.bytes(&[0xc7, 0x05])
            .bytes(&address.to_le_bytes())
            .bytes(&value.to_le_bytes())
    }

    /// The same with 2 bytes.
    pub(crate) fn store_word(self, address: u32, value: u16) -> Self {
        self.bytes(&[0x66, 0xc7, 0x05])
            .bytes(&address.to_le_bytes())
            .bytes(&value.to_le_bytes())
    }

    /// The same with one byte.
    pub(crate) fn store_byte(self, address: u32, value: u8) -> Self {
        self.bytes(&[0xc6, 0x05])
            .bytes(&address.to_le_bytes())
            .bytes(&[value])
    }

    /// 32-bit mode: reads EAX from memory at `address`.
    pub(crate) fn load(self, address: u32) -> Self {
        self.bytes(&[0xa1]).bytes(&address.to_le_bytes())
    }

    /// Waits for a byte on the serial port, and takes it.
    pub(crate) fn wait_for_key(self) -> Self {
        // mov dx, 0x3fd; in al, dx; test al, 1; jz to the first
        self.bytes(&[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7])
            .input(0x3f8, 1)
    }

    pub(crate) fn power_off(self) -> Self {
        // mov ax, 0x2000; out dx, ax
        self.port(0x604)
            .bytes(&[0x66, 0xb8, 0x00, 0x20, 0x66, 0xef])
            .halt()
    }

    pub(crate) fn halt(self) -> Self {
        // hlt; jmp to it
        self.bytes(&[0xf4, 0xeb, 0xfd])
    }

    /// Jumps back to the beginning of `body`, for ever.
    pub(crate) fn forever(self, body: Code) -> Self {
        let back = i8::try_from(-(body.0.len() as i64) - 2).expect("the loop is short");
        self.bytes(&body.0).bytes(&[0xeb, back as u8])
    }

    /// A kernel's file of it, which is entered so.
    fn kernel(&self, by: By) -> Vec<u8> {
        match by {
            By::Pvh | By::Linux64 => self.elf(by),
            By::Linux32 => self.bzimage(),
        }
    }

    /// A bzImage without a 64-bit entry, of protocol 2.15, which runs at 1 MiB.
    fn bzimage(&self) -> Vec<u8> {
        let mut file = vec![0; 1024];
        file[0x1f1] = 1;
        file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        file[0x201] = 0x62;
        file[0x202..0x206].copy_from_slice(b"HdrS");
        file[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        file[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
        file.extend(&self.0);
        file
    }

    /// An ELF file of it, with a PVH note where that is the entry.
    fn elf(&self, by: By) -> Vec<u8> {
        let mut note = [4u32, 4, 18].map(u32::to_le_bytes).concat();
        note.extend(b"Xen\0");
        note.extend(CODE.to_le_bytes());
        if by == By::Linux64 {
            note.clear();
        }
        let segment = |kind: u32, offset: u64, address: u64, len: u64| {
            let words = [offset, 0, address, len, len, 4].map(u64::to_le_bytes).concat();
            [[kind, 0].map(u32::to_le_bytes).concat(), words].concat()
        };
        let data = 64 + 2 * 56;
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([2u16, 62, 1, 0].map(u16::to_le_bytes).concat());
        file.extend([u64::from(CODE), 64, 0].map(u64::to_le_bytes).concat());
        file.extend([0u16, 0, 64, 56, 2, 0, 0, 0].map(u16::to_le_bytes).concat());
        file.extend(segment(4, data, 0, note.len() as u64));
        file.extend(segment(
            1,
            data + note.len() as u64,
            CODE.into(),
            self.0.len() as u64,
        ));
        file.extend(&note);
        file.extend(&self.0);
        file
    }
}

/// What the guest printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct NoPorts;

impl Ports for NoPorts {
    fn connect(&mut self, _: &PortSpec, _: &PortInput) -> Arc<dyn PortBackend> {
        unreachable!("these machines have no console device")
    }
}

/// A machine that runs.
pub(crate) struct Running {
    pub(crate) remote: Arc<Remote>,
    pub(crate) board: Board,
    printed: Printed,
    thread: Option<JoinHandle<ExitRecord>>,
}

/// How the machine differs from the plainest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) by: By,
    pub(crate) cpus: u8,
    pub(crate) memory: u64,
    pub(crate) on_reset: OnReset,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            by: By::Pvh,
            cpus: 1,
            memory: 32 << 20,
            on_reset: OnReset::Restart,
        }
    }
}

/// What else a machine has.
#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) disks: Vec<BlockSpec>,
    /// The first of its disks, where they are not to be opened by their paths.
    pub(crate) opened: Vec<Backing>,
    pub(crate) saved: Option<Saved>,
    /// Firmware's files, by which the machine boots instead of by the code: the code, and UEFI's variables.
    pub(crate) firmware: Option<(PathBuf, Option<PathBuf>)>,
}

/// Puts a machine together that prints to `printed`.
fn assemble(code: &Code, shape: Shape, extra: Extra, printed: &Printed) -> Machine {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kernel"), code.kernel(shape.by)).unwrap();
    let by_path = extra.disks.iter().skip(extra.opened.len());
    let by_path: Vec<_> = by_path.map(|disk| disk.open(folder.path()).unwrap()).collect();
    let backings = extra.opened.into_iter().chain(by_path);
    let disks = backings.map(|backing| OpenDisk { backing, top: None }).collect();
    let spec = MachineSpec {
        name: "micro".into(),
        identity: kiln_vmm::smbios::Identity::default(),
        cpus: shape.cpus,
        memory: shape.memory,
        huge_pages: kiln_vmm::memory::HugePages::default(),
        hyperv: false,
        boot: match extra.firmware {
            Some((code, variables)) => Boot::Firmware { code, variables },
            None => Boot::Kernel {
                kernel: "kernel".into(),
                initrd: None,
                cmdline: "micro".into(),
            },
        },
        devices: extra.disks.into_iter().map(Device::Block).collect(),
        on_reset: shape.on_reset,
        restore: None,
        directory: None,
    };
    let host = HostSide {
        hypervisor: Hypervisor::open().unwrap(),
        disks,
        network: None,
        boot: BootSource::open(&spec.boot, folder.path(), None).unwrap(),
        saved: extra.saved,
        serial: Box::new(printed.clone()),
        ports: Box::new(NoPorts),
        exits: Counting::Off,
    };
    Machine::assemble(&spec, host).unwrap()
}

/// Why a machine does not come to run.
pub(crate) fn refusal(code: &Code, shape: Shape, extra: Extra) -> String {
    let machine = assemble(code, shape, extra, &Printed::default());
    machine.run(|_| {}).unwrap_err().to_string()
}

impl Running {
    pub(crate) fn start(code: &Code, shape: Shape) -> Self {
        Self::start_with(code, shape, Extra::default())
    }

    pub(crate) fn start_with(code: &Code, shape: Shape, extra: Extra) -> Self {
        let printed = Printed::default();
        let machine = assemble(code, shape, extra, &printed);
        let (remote, board) = (machine.remote(), machine.board().clone());
        let thread = Some(std::thread::spawn(move || machine.run(|_| {}).unwrap()));
        Self {
            remote,
            board,
            printed,
            thread,
        }
    }

    pub(crate) fn printed(&self) -> Vec<u8> {
        self.printed.0.lock().unwrap().clone()
    }

    /// While what is returned lives, the guest's next byte on the serial port keeps its vCPU there.
    pub(crate) fn stop_up_the_port(&self) -> MutexGuard<'_, Vec<u8>> {
        self.printed.0.lock().unwrap()
    }

    /// Waits until the guest has printed `text`.
    pub(crate) fn wait_for(&self, text: &[u8]) {
        let deadline = Instant::now() + LONG;
        while !self.printed().windows(text.len()).any(|part| part == text) {
            assert!(
                Instant::now() < deadline,
                "waited for {text:?}, got {:?}",
                self.printed()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the machine's end.
    pub(crate) fn end(&mut self) -> ExitRecord {
        let thread = self.thread.take().expect("it ends once");
        let deadline = Instant::now() + LONG;
        while !thread.is_finished() {
            assert!(
                Instant::now() < deadline,
                "the machine does not end; it printed {:?}",
                self.printed()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        thread.join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.remote.kill("the test is over");
            let _ = thread.join();
        }
    }
}

/// Waits until `is_so`.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs `code` to its end; what it printed, and the record.
pub(crate) fn run(code: &Code, shape: Shape) -> (Vec<u8>, ExitRecord) {
    let mut running = Running::start(code, shape);
    let record = running.end();
    (running.printed(), record)
}

/// What was printed, as the numbers of `print_eax`.
pub(crate) fn words(printed: &[u8]) -> Vec<u32> {
    printed
        .chunks(4)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
        .collect()
}
