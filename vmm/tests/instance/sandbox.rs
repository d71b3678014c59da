//! What the processes of a machine can still do, as the host's kernel says it.

use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_vmm::client::{self, ExitReason};
use kiln_vmm::sandbox::ThreadKind;

use crate::micro::{LONG, Micro, kiln_vmm, open_files, prepare};
use crate::{devices, waiting, whole};

/// Name spaces of the VMM's own; it shares those of processes and control groups.
const OWN: [&str; 5] = ["user", "mnt", "net", "ipc", "uts"];

/// A machine that runs, and all of whose threads have begun.
fn running() -> Micro {
    let machine = whole();
    machine.printed("up");
    machine.vmm().status().unwrap();
    machine
}

/// Starts a machine by its program, with these arguments besides.
fn started_by_hand(folder: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new(kiln_vmm())
        .arg("--spec")
        .arg(folder.join("spec.json"))
        .args(["--ready-fd", "1"])
        .args(arguments)
        .env("AWS_SECRET_ACCESS_KEY", "canary")
        .output()
        .unwrap()
}

#[test]
fn hazard_every_thread_is_filtered_and_nothing_is_privileged() {
    let machine = running();
    let _client = machine.vmm();
    let (parent, vmm) = machine.processes();
    let mut names = Vec::new();
    for pid in [parent, vmm] {
        for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let status = match fs::read_to_string(task.unwrap().path().join("status")) {
                Ok(status) => status,
                // That of a connection which has just ended.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => continue,
                Err(error) => panic!("{error}"),
            };
            for line in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
                assert!(status.contains(line), "{line} in {status}");
            }
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert!(
                    status.contains(&format!("{set}:\t0000000000000000")),
                    "{set} in {status}"
                );
            }
            names.push(
                status
                    .lines()
                    .next()
                    .unwrap()
                    .trim_start_matches("Name:\t")
                    .to_owned(),
            );
        }
    }
    // A thread of KVM's own, which the kernel counts among the process's.
    names.retain(|name| !name.starts_with("kvm-"));
    names.sort();
    println!("figure: {} threads", names.len());
    let named = |name: &str| names.iter().filter(|other| other.starts_with(name)).count();
    // The parent and the machine's own thread bear the program's name; the disk has four.
    let counts = [
        "kiln-vmm",
        "vcpu",
        "vol-",
        "virtio-",
        "rtc",
        "agent-mux",
        "fitter",
        "control",
    ]
    .map(named);
    assert_eq!(counts[..7], [2, 1, 4, 4, 1, 1, 1], "{names:?}");
    assert!(
        counts[7] >= 1 && counts.iter().sum::<usize>() == names.len(),
        "{names:?}"
    );
}

/// Whether this host lets any program have name spaces of its own: unshare(1) with these options.
fn host_lets(options: &str) -> bool {
    let output = Command::new("unshare").args([options, "true"]).output();
    output.expect("unshare(1) can be started").status.success()
}

#[test]
fn hazard_the_vmm_has_name_spaces_of_its_own_and_an_empty_root() {
    let machine = running();
    let (_, vmm) = machine.processes();
    let link = |pid: &str, space: &str| fs::read_link(format!("/proc/{pid}/ns/{space}")).unwrap();
    let shared: Vec<&str> = OWN
        .into_iter()
        .filter(|space| link(&vmm.to_string(), space) == link("self", space))
        .collect();
    let log = fs::read_to_string(machine.path().join("vmm.log")).unwrap();
    let refused = |what: &str| log.contains(&format!("this host does not let the VMM {what}"));
    let is_apart = !refused("have namespaces of its own");
    let is_root = rustix::process::geteuid().is_root();
    // What the VMM says of the host is not believed.
    if host_lets("-Urmniu") {
        assert!(shared.is_empty(), "{shared:?}: {log}");
        assert!(is_apart && !refused("map the ids of its user namespace"), "{log}");
    } else if is_root && host_lets("-mniu") {
        // Root needs none of users to have the others.
        assert!(is_apart, "{log}");
        assert!(shared.is_empty() || shared == ["user"], "{shared:?}: {log}");
    } else {
        assert!(!is_apart || shared.is_empty(), "{shared:?}: {log}");
    }
    if is_apart && !refused("leave the file system's root") {
        let root = fs::read_dir(format!("/proc/{vmm}/root")).unwrap();
        assert_eq!(root.count(), 0);
    }
}

#[test]
fn hazard_open_files_equal_the_list_and_the_environment_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let devices = devices(folder.path());
    prepare(folder.path(), &waiting(), devices);
    // A careless starter: a descriptor without close-on-exec, and a secret in the environment.
    let careless = tempfile::NamedTempFile::new().unwrap();
    rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).unwrap();
    let output = started_by_hand(folder.path(), &[]);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("\"ready\""),
        "{output:?}"
    );
    rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::CLOEXEC).unwrap();
    let machine = Micro {
        folder,
        started: client::Started {
            boot: client::BootInfo::default(),
        },
    };
    machine.printed("up");
    let (parent, vmm) = machine.processes();
    let own = machine.path().canonicalize().unwrap();
    for pid in [parent, vmm] {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        assert!(
            environment.is_empty(),
            "{}",
            String::from_utf8_lossy(&environment)
        );
        for file in open_files(pid) {
            assert_ne!(file, careless.path());
            let name = file.display().to_string();
            let expected = file.starts_with(&own)
                || ["/dev/null", "/dev/kvm"].contains(&name.as_str())
                || name.starts_with("socket:")
                || name.starts_with("anon_inode:");
            assert!(expected, "{name} is open in {pid}");
        }
    }
    // Of the folder: its own files, and each for a reason.
    let mut names: Vec<String> = open_files(vmm)
        .iter()
        .filter_map(|file| Some(file.strip_prefix(&own).ok()?.display().to_string()))
        .collect();
    names.sort();
    names.dedup();
    let expected = [
        "",
        "base.qcow2",
        "console.log",
        "console.log.1",
        "kernel",
        "lock",
        "vmm.log",
    ]
    .map(str::to_owned);
    assert_eq!(names, expected);
    // Of the host: events, the machine, its vCPU; the control socket, the agent's, the link to the
    // parent, the network.
    let of_kernel = |prefix: &str| {
        let files = open_files(vmm).into_iter().map(|file| file.display().to_string());
        files.filter(|name| name.starts_with(prefix)).collect::<Vec<_>>()
    };
    let mut kinds = of_kernel("anon_inode:");
    kinds.sort();
    kinds.dedup();
    assert_eq!(
        kinds,
        ["[eventfd]", "kvm-vcpu:0", "kvm-vm"].map(|kind| format!("anon_inode:{kind}"))
    );
    assert_eq!(of_kernel("socket:").len(), 4);
}

/// Every kind of thread of a machine that runs.
pub(crate) const KINDS: [ThreadKind; 9] = [
    ThreadKind::Main,
    ThreadKind::Vcpu,
    ThreadKind::Block,
    ThreadKind::Console,
    ThreadKind::Net,
    ThreadKind::Rng,
    ThreadKind::Balloon,
    ThreadKind::Control,
    ThreadKind::Fitter,
];

/// What the record says of a machine whose threads of `kind` do as this option says.
fn end_of(option: &str, kind: ThreadKind) -> String {
    let folder = tempfile::tempdir().unwrap();
    let devices = devices(folder.path());
    prepare(folder.path(), &waiting(), devices);
    started_by_hand(folder.path(), &[&format!("{option}={}", kind.name())]);
    let record = client::wait_exit(folder.path(), LONG).unwrap().unwrap();
    assert_eq!(record.reason, ExitReason::VmmError);
    record.detail
}

#[test]
fn hazard_a_thread_of_any_kind_that_opens_a_file_ends_the_machine_and_is_named() {
    for kind in KINDS {
        let (name, number) = (kind.name(), libc::SYS_openat);
        let expected =
            format!("a {name} thread of the VMM made a forbidden system call, `openat` ({number})");
        assert_eq!(end_of("--open-in", kind), expected);
    }
}

#[test]
fn a_thread_of_any_kind_that_panics_ends_the_machine_and_its_message_is_kept() {
    for kind in KINDS {
        let (name, detail) = (kind.name(), end_of("--panic-in", kind));
        let message = format!("a {name} thread was asked to panic");
        assert!(
            detail.starts_with("the VMM panicked: ") && detail.contains(&message),
            "{detail}"
        );
    }
}
