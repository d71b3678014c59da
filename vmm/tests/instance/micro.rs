//! Machines with a guest of a few instructions: enough to show what the VMM does, on any `/dev/kvm`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_vmm::client::{self, ExitRecord, Started, Vmm};
use kiln_vmm::spec::{Boot, Device, MachineSpec, OnReset};

/// Long enough for a busy host.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Where the guest's program lies, and is entered in 32-bit protected mode with flat segments (PVH).
const ENTRY: u32 = 0x10_0000;

/// The guest's program, in machine code of 32-bit protected mode.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program(Vec<u8>);

impl Program {
    /// Prints `text` on ttyS0.
    pub(crate) fn print(mut self, text: &str) -> Self {
        for byte in text.bytes() {
            self = self.out(0x3f8, byte);
        }
        self
    }

    /// Writes `byte` to `port`.
    pub(crate) fn out(mut self, port: u16, byte: u8) -> Self {
        // mov al, byte; mov dx, port; out dx, al
        self.0.extend([0xb0, byte, 0x66, 0xba]);
        self.0.extend(port.to_le_bytes());
        self.0.push(0xee);
        self
    }

    /// Powers off: the sleep enable bit of PM1's control register.
    pub(crate) fn power_off(mut self) -> Self {
        // mov ax, 0x2000; mov dx, 0x604; out dx, ax
        self.0
            .extend([0x66, 0xb8, 0x00, 0x20, 0x66, 0xba, 0x04, 0x06, 0x66, 0xef]);
        self.halt()
    }

    /// Resets by 0xcf9.
    pub(crate) fn reset(self) -> Self {
        self.out(0xcf9, 0x06).halt()
    }

    /// Does nothing for ever.
    pub(crate) fn halt(mut self) -> Self {
        // hlt; jmp to it
        self.0.extend([0xf4, 0xeb, 0xfd]);
        self
    }

    /// Prints for ever what is typed at ttyS0.
    pub(crate) fn echo(mut self) -> Self {
        // mov dx, 0x3fd; in al, dx; test al, 1; jz to the start
        self.0
            .extend([0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7]);
        // mov dx, 0x3f8; in al, dx; out dx, al; jmp to the start
        self.0.extend([0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb, 0xef]);
        self
    }

    /// Prints on ttyS0 without end, a page of its memory at a time.
    pub(crate) fn flood(mut self) -> Self {
        // mov dx, 0x3f8; mov esi, 0x100000; mov ecx, 0x1000; rep outsb; jmp to the second
        self.0.extend([0x66, 0xba, 0xf8, 0x03, 0xbe]);
        self.0.extend(ENTRY.to_le_bytes());
        self.0
            .extend([0xb9, 0x00, 0x10, 0x00, 0x00, 0xf3, 0x6e, 0xeb, 0xf2]);
        self
    }

    /// Waits about as long as `rounds` times 2^16 turns of a loop take.
    pub(crate) fn wait(mut self, rounds: u32) -> Self {
        // mov ecx, rounds << 16; dec ecx; jnz to it
        self.0.push(0xb9);
        self.0.extend((rounds << 16).to_le_bytes());
        self.0.extend([0xff, 0xc9, 0x75, 0xfc]);
        self
    }

    /// An ELF file with the PVH note, as a kernel has it.
    fn elf(&self) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [4_u32, 4, 18] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"Xen\0");
        note.extend(ENTRY.to_le_bytes());
        let (headers, length) = (64 + 2 * 56_u64, u64::try_from(self.0.len()).unwrap());
        let note_length = u64::try_from(note.len()).unwrap();
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
        for word in [u64::from(ENTRY), 64, 0] {
            file.extend(word.to_le_bytes());
        }
        for half in [0_u16, 0, 64, 56, 2, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut segment = |kind: u32, flags: u32, offset: u64, address: u64, length: u64| {
            file.extend(kind.to_le_bytes());
            file.extend(flags.to_le_bytes());
            for word in [offset, address, address, length, length, 4] {
                file.extend(word.to_le_bytes());
            }
        };
        segment(1, 5, headers + note_length, u64::from(ENTRY), length);
        segment(4, 4, headers, 0, note_length);
        file.extend(note);
        file.extend(&self.0);
        file
    }
}

/// An instance's folder with a machine that runs in it.
pub(crate) struct Micro {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) started: Started,
}

impl Micro {
    /// Starts a machine with `devices` and the guest `program`.
    pub(crate) fn start(program: &Program, devices: Vec<Device>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), program, devices)
    }

    /// The same, in a folder in which something has been prepared.
    pub(crate) fn start_in(folder: tempfile::TempDir, program: &Program, devices: Vec<Device>) -> Self {
        prepare(folder.path(), program, devices);
        let started = client::spawn(kiln_vmm(), folder.path()).unwrap();
        Self { folder, started }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn vmm(&self) -> Vmm {
        Vmm::connect(self.path()).unwrap()
    }

    /// What the guest printed so far.
    pub(crate) fn console(&self) -> String {
        std::fs::read_to_string(self.path().join("console.log")).unwrap()
    }

    /// Waits until it has printed `text`.
    pub(crate) fn printed(&self, text: &str) {
        until(&format!("`{text}` on the console"), || {
            self.console().contains(text)
        });
    }

    pub(crate) fn record(&self) -> ExitRecord {
        client::wait_exit(self.path(), LONG)
            .unwrap()
            .expect("the machine has ended")
    }

    /// The ids of the parent and of the VMM: who has the lock open.
    pub(crate) fn processes(&self) -> (i32, i32) {
        let lock = self.path().join("lock").canonicalize().unwrap();
        let holders: Vec<i32> = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
            .filter(|pid| open_files(*pid).contains(&lock))
            .collect();
        let of = |pid: &&i32| holders.contains(&parent_of(**pid));
        let vmm = *holders.iter().find(of).expect("a VMM");
        (parent_of(vmm), vmm)
    }
}

impl Drop for Micro {
    fn drop(&mut self) {
        let _ = client::kill_by_force(self.path());
    }
}

/// Puts kernel and spec into the folder.
pub(crate) fn prepare(folder: &Path, program: &Program, devices: Vec<Device>) {
    std::fs::write(folder.join("kernel"), program.elf()).unwrap();
    let spec = MachineSpec {
        name: "i-0123456789abcdef0".to_owned(),
        identity: kiln_vmm::arch::x86_64::smbios::Identity::default(),
        cpus: 1,
        memory: 32 << 20,
        huge_pages: kiln_vmm::memory::HugePages::default(),
        boot: Boot::Kernel {
            kernel: "kernel".into(),
            initrd: None,
            cmdline: "micro".to_owned(),
        },
        devices,
        on_reset: OnReset::Restart,
        restore: None,
        directory: Some(folder.to_owned()),
    };
    std::fs::write(folder.join("spec.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
}

/// The program under test.
pub(crate) fn kiln_vmm() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kiln-vmm"))
}

/// What process `pid` has open.
pub(crate) fn open_files(pid: i32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    entries
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .collect()
}

fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat
        .rsplit_once(')')
        .map(|(_, fields)| fields.to_owned())
        .unwrap_or_default();
    fields
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

/// Sends `signal` to `pid`.
pub(crate) fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Waits until `is_so`.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
