//! Machines of `kiln-vmm` alone, without a store: Linux from its files, and what it prints.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Home, home};

/// How long a guest may take; its processors take turns on one that is emulated.
const PATIENCE: Duration = Duration::from_secs(400);

/// What Linux says that boots with these arguments of `kiln-vmm`, and runs a script of busybox as its first process, out
/// of the initramfs of the image `tiny`: no disk is needed. The machine must power off by itself.
#[track_caller]
pub fn says(store: &Home, arguments: &[&str], script: &str) -> String {
    take_out(store);
    let cmdline = format!(
        "console=ttyS0 quiet rdinit=/bin/busybox -- sh -c \"mkdir -p /proc /sys; mount -t proc p /proc; \
         mount -t sysfs s /sys; {script}; poweroff -f\""
    );
    let mut machine = Command::new(home::program("kiln-vmm"))
        .args(arguments)
        .args(["--cmdline", &cmdline])
        .arg("--kernel")
        .arg(store.file("vmlinuz"))
        .arg("--initrd")
        .arg(store.file("initrd.img"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kiln-vmm starts");
    let mut output = machine.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut console = String::new();
        output.read_to_string(&mut console).map(|_| console)
    });
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = machine.try_wait().expect("kiln-vmm can be waited for") {
            break Some(status);
        }
        if Instant::now() > until {
            machine
                .kill()
                .and_then(|()| machine.wait())
                .expect("kiln-vmm can be killed");
            break None;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let console = reader.join().expect("the reader does not panic").expect("text");
    let ended = status.map(|s| s.code());
    assert_eq!(ended, Some(Some(0)), "it speaks, then powers off: {console}");
    console
}

/// Puts kernel and initramfs of `tiny` beside the store.
fn take_out(store: &Home) {
    if store.file("initrd.img").exists() {
        return;
    }
    let disk = store.file("tiny.raw");
    let disk = disk.to_str().expect("UTF-8");
    store.kiln(&["image", "export", "tiny", disk]).succeeds();
    for name in ["vmlinuz", "initrd.img"] {
        let dump = format!("dump /boot/{name} {}", store.file(name).display());
        let out = Command::new("debugfs").args(["-R", &dump, disk]).output();
        assert!(
            out.expect("debugfs runs").status.success(),
            "no {name} on the disk"
        );
    }
}
