//! Machines with a guest of a few instructions: enough to show what the VMM does, on any `/dev/kvm`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use kiln_tests::{Access, Program};
use kiln_vmm::client::{self, ExitRecord, Started, Vmm};
use kiln_vmm::spec::{Boot, Device, MachineSpec, OnReset};

/// Long enough for a busy host.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// An instance's folder with a machine that runs in it.
pub(crate) struct Micro {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) started: Started,
}

impl Micro {
    /// Starts a machine with `devices` and the guest `program`, in a folder in which something has been prepared.
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
        String::from_utf8_lossy(&std::fs::read(self.path().join("console.log")).unwrap()).into_owned()
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
        identity: kiln_vmm::smbios::Identity::default(),
        cpus: 1,
        memory: 32 << 20,
        huge_pages: kiln_vmm::memory::HugePages::default(),
        hyperv: false,
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
