//! A store with one running instance, whose guest is a few instructions: enough for commands that look at a
//! running machine, on any `/dev/kvm`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kiln_control::{Bytes, Cloud, HugePages, ImportImage, InstanceId, KernelFiles, Options, RunInstances};
use kiln_tests::Program;

/// Long enough for a busy host.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The store, and its instance.
pub(crate) struct Micro {
    folder: tempfile::TempDir,
    pub(crate) instance: InstanceId,
}

impl Micro {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cloud = cloud(&folder);
        let disk = tempfile::tempfile().expect("a file");
        disk.set_len(4 << 20).expect("room");
        let import = ImportImage {
            source: disk,
            source_name: "micro.raw".to_owned(),
            map: None,
            name: "micro".to_owned(),
            description: None,
            boots: None,
            uefi_data: None,
            tags: Vec::new(),
            progress: None,
        };
        cloud.import_image(import).expect("an image");
        let instance = launched(&cloud, HugePages::default());
        Self { folder, instance }
    }

    /// Another instance.
    #[allow(dead_code, reason = "not every file of tests wants several")]
    pub(crate) fn launch(&self) -> InstanceId {
        self.launch_in(HugePages::default())
    }

    /// Another instance, whose memory is of these pages.
    #[allow(dead_code, reason = "not every file of tests wants several")]
    pub(crate) fn launch_in(&self, pages: HugePages) -> InstanceId {
        launched(&cloud(&self.folder), pages)
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

fn cloud(folder: &tempfile::TempDir) -> Cloud {
    let mut options = Options::new(folder.path().join("home"));
    options.kiln_vmm = Some(kiln_vmm());
    options.memory = Some(Bytes(64 << 30));
    Cloud::open(options).expect("a store")
}

fn launched(cloud: &Cloud, pages: HugePages) -> InstanceId {
    let mut kernel = tempfile::tempfile().expect("a file");
    kernel.write_all(&Program::default().echo().elf()).expect("room");
    let mut request = RunInstances::of("micro");
    request.instance_type = Some("t3.nano".to_owned());
    request.huge_pages = pages;
    request.kernel = Some(KernelFiles {
        kernel,
        initrd: None,
        cmdline: "micro".to_owned(),
    });
    let launched = cloud.run_instances(request).expect("it starts").document;
    InstanceId::parse(&launched.instances[0].instance_id).expect("an id")
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
