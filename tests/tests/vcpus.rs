//! Linux on as many processors as the largest machine of the tests has.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::{Home, home};

/// What Linux runs as its first process, out of the initramfs: no disk is needed.
const COUNT: &str = "console=ttyS0 quiet rdinit=/bin/busybox -- sh -c \
    \"/bin/busybox nproc; /bin/busybox poweroff -f\"";

#[test]
fn linux_brings_up_eight_vcpus() {
    let store = Home::new();
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
    let mut machine = Command::new(home::program("kiln-vmm"))
        .args(["--cpus", "8", "--memory", "512M", "--cmdline", COUNT])
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
    let until = Instant::now() + Duration::from_secs(300);
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
    assert_eq!(ended, Some(Some(0)), "it counts, then powers off: {console}");
    assert!(console.lines().any(|line| line.trim() == "8"), "{console}");
}

#[test]
fn linux_has_a_request_queue_for_each_vcpu() {
    let store = Home::new();
    let guest = store.launch("tiny", &["--type", "t3.micro"]);
    assert_eq!(guest.says("nproc; ls /sys/block/vda/mq | wc -l"), "2\n2");
}
