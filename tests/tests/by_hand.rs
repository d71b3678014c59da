//! Linux in machines by hand: on as many processors as the largest machine of the tests has, with more memory than fits
//! below 4 GiB, and at Hyper-V's interface in place of KVM's.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::{Home, home};

/// How long such a machine may run. Where virtualization is emulated, each of its processors takes seconds to come up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Gives the shell its commands, and what they look at.
const PREPARE: &str = "/bin/busybox mount -t proc proc /proc; /bin/busybox --install -s /bin; \
    mount -t sysfs sys /sys; mount -t devtmpfs dev /dev";

/// The kernel of the image `tiny`, and its initramfs, which has a shell: no disk is needed.
struct Linux {
    store: Home,
}

impl Linux {
    #[track_caller]
    fn new() -> Linux {
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
        Linux { store }
    }

    /// Runs `script`, in which no double quote may be, as the first process in a machine of these `options`, which then
    /// powers off; what its console shows.
    #[track_caller]
    fn says(&self, options: &[&str], script: &str) -> String {
        let words =
            format!("console=ttyS0 quiet rdinit=/bin/busybox -- sh -c \"{PREPARE}; {script}; poweroff -f\"");
        let mut machine = Command::new(home::program("kiln-vmm"))
            .args(options)
            .args(["--cmdline", &words])
            .arg("--kernel")
            .arg(self.store.file("vmlinuz"))
            .arg("--initrd")
            .arg(self.store.file("initrd.img"))
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
        assert_eq!(ended, Some(Some(0)), "it powers off in the end: {console}");
        console
    }
}

/// The rest of the line of `console` that begins with `word`.
#[track_caller]
fn told<'c>(console: &'c str, word: &str) -> &'c str {
    let mut lines = console.lines();
    let rest = lines
        .find_map(|line| line.trim().strip_prefix(word))
        .unwrap_or_default();
    assert!(!rest.is_empty(), "no line begins with `{word}`: {console}");
    rest.trim()
}

#[test]
fn linux_brings_up_sixteen_vcpus() {
    let options = ["--cpus", "16", "--memory", "512M"];
    let console = Linux::new().says(&options, "echo processors: $(nproc)");
    assert_eq!(told(&console, "processors:"), "16");
}

/// Fills half a GiB with pieces that differ, of which each has its number and lies otherwise in its pages than the one
/// before; and looks at it again. Linux takes memory above 4 GiB first, its zone `Normal`.
const FILL: &str = "free() { awk '/Normal/ { normal++ } /pages free/ && normal { print $3; exit }' /proc/zoneinfo; }; \
    pieces() { for n in $(seq 512); do printf %08d $n; cat /m/piece; done; }; \
    mkdir /m; mount -t tmpfs -o size=1g m /m; head -c 1048576 /dev/urandom >/m/piece; \
    echo free before: $(free); pieces >/m/all; echo free after: $(free); \
    pieces | cmp - /m/all && echo memory: kept; \
    echo of $(awk '/MemTotal/ { print $2 }' /proc/meminfo) KiB";

#[test]
fn linux_uses_memory_above_4_gib_which_keeps_what_is_written_to_it() {
    let console = Linux::new().says(&["--memory", "5G"], FILL);
    let [before, after] =
        ["free before:", "free after:"].map(|word| -> u64 { told(&console, word).parse().expect("pages") });
    // Of 4 KiB each: all that was written, but for a little that others gave back meanwhile.
    assert!(
        before >= after + 120_000,
        "pages free above 4 GiB: {before}, then {after}"
    );
    assert_eq!(told(&console, "memory:"), "kept", "{console}");
    let kib = told(&console, "of ").strip_suffix(" KiB").unwrap_or_default();
    let kib: u64 = kib.parse().expect("a number");
    assert!((4_900_000..5 << 20).contains(&kib), "5 GiB: {kib} KiB");
}

/// Time passes by the clock that the kernel has chosen.
const CLOCK: &str = "dmesg | grep Hypervisor.detected; \
    echo clock: $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource); \
    began=$(date +%s); sleep 5; echo passed: $(($(date +%s) - began))";

#[test]
fn linux_finds_hyperv_in_place_of_kvm_and_keeps_time_by_its_page() {
    let console = Linux::new().says(&["--hyperv", "--memory", "512M"], CLOCK);
    let detected = console
        .lines()
        .any(|line| line.trim().ends_with("Hypervisor detected: Microsoft Hyper-V"));
    assert!(detected, "{console}");
    assert_eq!(told(&console, "clock:"), "hyperv_clocksource_tsc_page");
    // A guest that is emulated takes a while to look at it.
    let passed: u64 = told(&console, "passed:").parse().expect("seconds");
    assert!((5..15).contains(&passed), "of five seconds: {passed}");
}
