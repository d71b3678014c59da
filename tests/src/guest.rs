//! A launched instance.

use std::time::{Duration, Instant};

use crate::{Home, Outcome};
use serde_json::Value;

/// One instance in a [`Home`]; terminated when the home goes.
pub struct Guest<'h> {
    home: &'h Home,
    id: String,
}

impl<'h> Guest<'h> {
    /// The instance `id` of `home`.
    pub fn new(home: &'h Home, id: String) -> Guest<'h> {
        assert!(
            id.starts_with("i-") && id.len() == 19,
            "not one instance id: {id:?}"
        );
        Guest { home, id }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The store that it belongs to.
    pub fn home(&self) -> &Home {
        self.home
    }

    /// Runs a shell command in the guest.
    #[track_caller]
    pub fn exec(&self, script: &str) -> Outcome {
        self.home.kiln(&["exec", &self.id, "--", "sh", "-c", script])
    }

    /// What a shell command that must succeed prints.
    #[track_caller]
    pub fn says(&self, script: &str) -> String {
        self.exec(script).succeeds().text()
    }

    /// Its entry in the document of `kiln show`.
    #[track_caller]
    pub fn show(&self) -> Value {
        self.home.json(&["show", &self.id])["Reservations"][0]["Instances"][0].clone()
    }

    /// Its state's name.
    #[track_caller]
    pub fn state(&self) -> String {
        self.show()["State"]["Name"]
            .as_str()
            .expect("a state has a name")
            .to_string()
    }

    /// The process id of its VMM, of the two processes the one that runs the guest.
    #[track_caller]
    pub fn vmm(&self) -> i32 {
        *self.processes().last().expect("a running instance has a VMM")
    }

    /// The process ids of the parent and of the VMM, in this order, found by the instance's folder.
    pub fn processes(&self) -> Vec<i32> {
        let folder = self.home.path().join("instances").join(&self.id);
        let mut found: Vec<i32> = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains("kiln-vmm") && line.contains(&*folder.to_string_lossy()) {
                found.push(pid);
            }
        }
        found.sort_unstable();
        found
    }

    /// Asserts that the instance gets to `state` within `seconds`.
    #[track_caller]
    pub fn becomes(&self, state: &str, seconds: u64) {
        let start = Instant::now();
        while self.state() != state {
            assert!(
                start.elapsed() < Duration::from_secs(seconds),
                "{} is still {}",
                self.id,
                self.state()
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// How many disks the guest has that are the volume `volume`.
    #[track_caller]
    pub fn disks_of(&self, volume: &str) -> String {
        let serial = volume.replace('-', "");
        self.says(&format!(
            "grep -lx {serial} /sys/block/vd*/serial 2>/dev/null | wc -l"
        ))
    }

    /// What the guest calls the disk that is the volume `volume`, once it has found it.
    #[track_caller]
    pub fn finds(&self, volume: &str) -> String {
        let serial = volume.replace('-', "");
        self.says(&format!(
            "for i in $(seq 300); do f=$(grep -lx {serial} /sys/block/vd*/serial 2>/dev/null) && break; sleep 0.1; \
             done; basename $(dirname $f)"
        ))
    }

    /// By what it was booted: `bios` or `uefi`, if a boot loader names the kernel on its command line, as GRUB does, else
    /// `menu`.
    #[track_caller]
    pub fn booted_by(&self) -> String {
        self.says(
            "if [ -d /sys/firmware/efi ]; then echo uefi; elif grep -q BOOT_IMAGE= /proc/cmdline; then echo bios; \
             else echo menu; fi",
        )
    }

    /// What its VMM logged.
    #[track_caller]
    pub fn vmm_log(&self) -> String {
        let path = self.home.path().join("instances").join(&self.id).join("vmm.log");
        std::fs::read_to_string(path).expect("a VMM has a log")
    }

    /// Its console log so far.
    #[track_caller]
    pub fn log(&self) -> String {
        self.home.kiln(&["log", &self.id]).succeeds().text()
    }
}
