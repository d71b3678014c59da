//! A store with one running instance, whose guest is a few instructions: enough for commands that look at a
//! running machine, on any `/dev/kvm`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kiln_control::{Bytes, Cloud, ImportImage, InstanceId, KernelFiles, Options, RunInstances};

/// Long enough for a busy host.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Where the guest's program lies, and is entered in 32-bit protected mode with flat segments (PVH).
const ENTRY: u32 = 0x10_0000;

/// Prints on ttyS0 what is typed there, for ever.
const ECHO: [u8; 17] = [
    0x66, 0xba, 0xfd, 0x03, // mov dx, 0x3fd
    0xec, 0xa8, 0x01, 0x74, 0xf7, // in al, dx; test al, 1; jz to the start
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xec, 0xee, 0xeb, 0xef, // in al, dx; out dx, al; jmp to the start
];

/// The store, and its instance.
pub(crate) struct Micro {
    folder: tempfile::TempDir,
    pub(crate) instance: InstanceId,
}

impl Micro {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut options = Options::new(folder.path().join("home"));
        options.kiln_vmm = Some(kiln_vmm());
        options.memory = Some(Bytes(64 << 30));
        let cloud = Cloud::open(options).expect("a store");
        let disk = tempfile::tempfile().expect("a file");
        disk.set_len(4 << 20).expect("room");
        let import = ImportImage {
            source: disk,
            source_name: "micro.raw".to_owned(),
            map: None,
            name: "micro".to_owned(),
            description: None,
            virtualization: None,
            tags: Vec::new(),
            progress: None,
        };
        cloud.import_image(import).expect("an image");
        let mut kernel = tempfile::tempfile().expect("a file");
        kernel.write_all(&elf(&ECHO)).expect("room");
        let mut request = RunInstances::of("micro");
        request.instance_type = Some("t3.nano".to_owned());
        request.kernel = Some(KernelFiles {
            kernel,
            initrd: None,
            cmdline: "micro".to_owned(),
        });
        let launched = cloud.run_instances(request).expect("it starts").document;
        let instance = InstanceId::parse(&launched.instances[0].instance_id).expect("an id");
        Self { folder, instance }
    }

    /// The `kiln` command on this store.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command
            .args(arguments)
            .env("KILN_HOME", self.folder.path().join("home"))
            .env("KILN_ACCEL", "kvm")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn directory(&self) -> PathBuf {
        let home = self.folder.path().join("home");
        home.join("instances").join(self.instance.as_str())
    }

    /// Ends the guest's machine.
    pub(crate) fn kill(&self) {
        kiln_vmm::client::kill_by_force(&self.directory()).expect("it can be killed");
    }
}

impl Drop for Micro {
    fn drop(&mut self) {
        let _ = kiln_vmm::client::kill_by_force(&self.directory());
    }
}

/// The program, built once if it is not there or not the newest.
fn kiln_vmm() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    if let Some(given) = std::env::var_os("KILN_VMM") {
        return PathBuf::from(given);
    }
    let target = PathBuf::from(env!("CARGO_BIN_EXE_kiln"));
    let folder = target.parent().expect("a folder").to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "kiln-vmm", "--bin", "kiln-vmm"])
        .status()
        .expect("cargo runs");
    assert!(status.success(), "kiln-vmm does not build");
    folder.join("kiln-vmm")
}

/// Waits until `is_so`.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An ELF file with the PVH note, as a kernel has it.
fn elf(code: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [4_u32, 4, 18] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(ENTRY.to_le_bytes());
    let headers = 64 + 2 * 56;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [u64::from(ENTRY), 64, 0] {
        file.extend(word.to_le_bytes());
    }
    for half in [0_u16, 0, 64, 56, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut segment = |kind: u32, flags: u32, offset: usize, address: u64, length: usize| {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [offset as u64, address, address, length as u64, length as u64, 4] {
            file.extend(word.to_le_bytes());
        }
    };
    segment(1, 5, headers + note.len(), ENTRY.into(), code.len());
    segment(4, 4, headers, 0, note.len());
    file.extend(note);
    file.extend(code);
    file
}
