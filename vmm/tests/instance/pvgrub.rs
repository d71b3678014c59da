//! Machines whose kernel is found on their disk: by the disk's own boot menu, and only once the
//! sandbox is entered.

use std::mem::MaybeUninit;
use std::path::Path;
use std::process::Command;

use crate::micro::{Micro, Program, kiln_vmm, prepare};
use kiln_vmm::client;
use kiln_vmm::spec::{Boot, Device, MachineSpec};
use kiln_vmm::virtio::block::{BlockSpec, DiskFormat};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tempfile::TempDir;

const UUID: &str = "11111111-2222-3333-4444-555555555555";
const MENU: &str = "default 0\nfallback 1\n\
    title Gone\nroot (hd0)\nkernel /boot/gone root=/dev/xvda1\n\
    title Micro\nroot (hd0)\nkernel /boot/micro root=/dev/xvda1 ro\ninitrd /boot/initrd\n";

/// Makes an unpartitioned ext4 disk of a folder.
fn ext4(folder: &Path, disk: &Path) {
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-U", UUID, "-d"])
        .args([folder, disk])
        .arg("8M")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// The folder of a machine whose `disk.raw` carries a menu and a kernel that prints `up`.
fn machine() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let disk = Device::Block(BlockSpec {
        id: "vol-0123456789abcdef0".to_owned(),
        path: "disk.raw".into(),
        format: DiskFormat::Raw,
        read_only: false,
        queues: None,
        serial: None,
        slot: None,
    });
    prepare(
        folder.path(),
        &Program::default().print("up\n").halt(),
        vec![disk],
    );
    let files = folder.path().join("files");
    std::fs::create_dir_all(files.join("boot/grub")).unwrap();
    std::fs::write(files.join("boot/grub/menu.lst"), MENU).unwrap();
    std::fs::write(files.join("boot/initrd"), "cpio").unwrap();
    std::fs::copy(folder.path().join("kernel"), files.join("boot/micro")).unwrap();
    ext4(&files, &folder.path().join("disk.raw"));
    let spec = folder.path().join("spec.json");
    let mut machine = MachineSpec::read(&spec).unwrap();
    machine.boot = Boot::PvGrub {
        append: Some("quiet".to_owned()),
    };
    std::fs::write(&spec, serde_json::to_vec(&machine).unwrap()).unwrap();
    folder
}

#[test]
fn the_log_says_which_menu_entry_was_chosen_and_why_and_what_was_changed() {
    let folder = machine();
    let started = client::spawn(kiln_vmm(), folder.path()).unwrap();
    let machine = Micro { folder, started };
    machine.printed("up");
    let log = std::fs::read_to_string(machine.path().join("vmm.log")).unwrap();
    let line = |words: &str| {
        let found = log.lines().find(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("no line with `{words}` in {log}"))
    };
    let chosen = line("chosen from the boot menu");
    for words in [
        r#"menu="(hd0)/boot/grub/menu.lst""#,
        r#"entry="Micro""#,
        r#"kernel="(hd0)/boot/micro""#,
        r#"initrd="(hd0)/boot/initrd""#,
        r#"reason="entry 1 is"#,
    ] {
        assert!(chosen.contains(words), "{words} in {chosen}");
    }
    line("Gone");
    line(&format!("root=/dev/xvda1 became root=UUID={UUID}"));
    line("quiet was added, as asked for");
    line("console=ttyS0 was added");
    let cmdline = format!("root=UUID={UUID} ro quiet console=ttyS0");
    line(&format!("cmdline=\"{cmdline}\""));
    assert_eq!(machine.started.boot.cmdline, cmdline);
    assert_eq!(machine.started.boot.entry.as_deref(), Some("Micro"));
}

/// A block of GRUB's environment with this line.
fn block(line: &str) -> Vec<u8> {
    let mut block = format!("# GRUB Environment Block\n{line}\n").into_bytes();
    block.resize(1024, b'#');
    block
}

#[test]
fn what_the_menu_remembers_is_written_from_inside_the_sandbox() {
    let folder = machine();
    let files = folder.path().join("files");
    let menu = "load_env\nset default=\"${next_entry}\"\nset next_entry=\nsave_env next_entry\n\
        menuentry First { linux /boot/micro }\nmenuentry Once { linux /boot/micro }\n";
    std::fs::remove_file(files.join("boot/grub/menu.lst")).unwrap();
    std::fs::write(files.join("boot/grub/grub.cfg"), menu).unwrap();
    std::fs::write(files.join("boot/grub/grubenv"), block("next_entry=Once")).unwrap();
    ext4(&files, &folder.path().join("disk.raw"));
    let started = client::spawn(kiln_vmm(), folder.path()).unwrap();
    let machine = Micro { folder, started };
    machine.printed("up");
    assert_eq!(machine.started.boot.entry.as_deref(), Some("Once"));
    let log = std::fs::read_to_string(machine.path().join("vmm.log")).unwrap();
    assert!(
        log.contains("(hd0)/boot/grub/grubenv remembers this boot"),
        "{log}"
    );
    let read = Command::new("debugfs")
        .args(["-R", "cat /boot/grub/grubenv"])
        .arg(machine.path().join("disk.raw"))
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .unwrap();
    assert_eq!(read.stdout, block("next_entry="));
}

/// Whether a machine that is killed at `point` of its launch has read anything of its disk by then.
fn has_read_its_disk_at(point: &str) -> bool {
    let folder = machine();
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, folder.path().join("disk.raw"), WatchFlags::ACCESS).unwrap();
    // Its end is the end of what it prints.
    let ended = Command::new(kiln_vmm())
        .arg("--spec")
        .arg(folder.path().join("spec.json"))
        .args(["--ready-fd", "1"])
        .arg(format!("--crash-point={point}"))
        .output()
        .unwrap();
    let log = std::fs::read_to_string(folder.path().join("vmm.log")).unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(!said.contains("\"boot\""), "{point} was passed: {said} {log}");
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    match events.next() {
        Ok(event) => event.events().contains(ReadFlags::ACCESS),
        Err(error) => {
            assert_eq!(error, rustix::io::Errno::AGAIN);
            false
        }
    }
}

#[test]
fn hazard_nothing_of_the_disk_is_read_before_the_sandbox_is_entered() {
    assert!(!has_read_its_disk_at("launch.disks_opened"));
    assert!(!has_read_its_disk_at("launch.sandboxed"));
    assert!(has_read_its_disk_at("launch.before_ready"), "the menu is read");
}
