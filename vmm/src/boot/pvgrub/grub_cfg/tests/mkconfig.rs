//! Menus and environment blocks that GRUB's own tools write, here and now: `grub-mkconfig` sees a
//! `/boot` and a `/etc/default/grub` of its own, and a `grub-probe` that knows a disk with a GPT.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kiln_imagefmt::{Access, Disk, RawDisk};

use super::super::super::tests::fixtures::{File, Partition, ROOT_UUID, gpt_bytes, kernel};
use super::super::super::{Chosen, boot};

const VERSIONS: &[&str] = &["6.1.0-9-amd64", "6.1.0-18-amd64"];

/// What `grub-probe` says of the root partition.
const PROBE: &str = r#"#!/bin/sh
case "$*" in
    *--target=device*) echo /dev/sda1 ;;
    *--target=fs_uuid*) echo UUID ;;
    *--target=partmap*) echo gpt ;;
    *--target=fs*) echo ext2 ;;
    *--target=compatibility_hint*|*--target=bios_hints*) echo hd0,gpt1 ;;
    *--target=hints_string*) echo "--hint-bios=hd0,gpt1 --hint-efi=hd0,gpt1 --hint-baremetal=ahci0,gpt1" ;;
    *) echo ;;
esac
"#;

/// Says that each path is one of the root file system: that `/boot` is mounted here does not matter.
const RELATIVE: &str = "#!/bin/sh\nfor last; do :; done\necho \"$last\"\n";

/// In a mount namespace, so that the host's own files stay as they are.
const SCRIPT: &str = "set -e; mount --bind \"$1/boot\" /boot; for tool in grub-probe grub-mkrelpath; do \
    mount --bind \"$1/$tool\" \"$(command -v $tool)\"; done; \
    cp \"$1/grub\" \"$1/default/grub\"; mount --bind \"$1/default\" /etc/default; \
    exec grub-mkconfig -o \"$1/boot/grub/grub.cfg\"";

fn tool(command: &mut Command) {
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C");
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A disk whose only partition was given a menu by `grub-mkconfig` with these `settings`, and an environment
/// block by `grub-editenv` with these variables.
struct Installed {
    folder: tempfile::TempDir,
}

impl Installed {
    fn new(settings: &str, variables: &[&str]) -> Installed {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for path in ["boot/grub", "default"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        for version in VERSIONS {
            for (name, text) in [("vmlinuz", "kernel"), ("initrd.img", "cpio"), ("config", "")] {
                std::fs::write(at(&format!("boot/{name}-{version}")), text).unwrap();
            }
        }
        std::fs::write(
            at("grub"),
            format!("GRUB_DISTRIBUTOR=Debian\nGRUB_DISABLE_OS_PROBER=true\n{settings}"),
        )
        .unwrap();
        std::fs::write(at("grub-probe"), PROBE.replace("UUID", ROOT_UUID)).unwrap();
        std::fs::write(at("grub-mkrelpath"), RELATIVE).unwrap();
        tool(
            Command::new("chmod")
                .arg("755")
                .args([at("grub-probe"), at("grub-mkrelpath")]),
        );
        tool(
            Command::new("unshare")
                .args(["-rm", "sh", "-c", SCRIPT, "sh"])
                .arg(folder.path()),
        );
        tool(
            Command::new("grub-editenv")
                .arg(at("boot/grub/grubenv"))
                .arg("create"),
        );
        for variable in variables {
            tool(
                Command::new("grub-editenv")
                    .arg(at("boot/grub/grubenv"))
                    .args(["set", variable]),
            );
        }
        let read = |path: &str| std::fs::read(at(path)).unwrap();
        let (menu, block, kernel) = (read("boot/grub/grub.cfg"), read("boot/grub/grubenv"), kernel());
        let named: Vec<[String; 2]> = VERSIONS
            .iter()
            .map(|version| ["vmlinuz", "initrd.img"].map(|name| format!("/boot/{name}-{version}")))
            .collect();
        let mut files: Vec<File<'_>> = vec![
            ("/boot/grub/grub.cfg", &menu),
            ("/boot/grub/grubenv", &block),
            ("/etc/fstab", b""),
        ];
        for [kernel_path, initrd_path] in &named {
            files.extend([
                (kernel_path.as_str(), kernel.as_slice()),
                (initrd_path.as_str(), b"cpio"),
            ]);
        }
        let root = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
        let disk = gpt_bytes(&[Partition::ext_with(root, &files, &["-U", ROOT_UUID])]);
        std::fs::write(at("disk"), disk).unwrap();
        Installed { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Boots once.
    fn boot(&self) -> Chosen {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(self.path().join("disk"));
        let disk: Arc<dyn Disk> = Arc::new(RawDisk::open(file.unwrap(), Access::ReadWrite).unwrap());
        let chosen = boot(&disk, None).unwrap();
        assert_eq!(chosen.found.notes, [""; 0]);
        chosen
    }

    /// The environment block on the disk, as `grub-editenv` lists it.
    fn variables(&self) -> Vec<String> {
        let disk = std::fs::read(self.path().join("disk")).unwrap();
        let block = self.path().join("block");
        let root = self.path().join("root");
        std::fs::write(&root, &disk[1 << 20..]).unwrap();
        tool(
            Command::new("debugfs")
                .arg("-R")
                .arg(format!("dump /boot/grub/grubenv {}", block.display()))
                .arg(root),
        );
        let listed = Command::new("grub-editenv")
            .arg(block)
            .arg("list")
            .output()
            .unwrap();
        String::from_utf8(listed.stdout)
            .unwrap()
            .lines()
            .map(String::from)
            .collect()
    }
}

#[test]
fn a_menu_that_grub_mkconfig_wrote_boots_the_newest_kernel() {
    let disk = Installed::new(
        "GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet console=hvc0\"\nGRUB_CMDLINE_LINUX=net.ifnames=0\n",
        &[],
    );
    let chosen = disk.boot();
    assert_eq!(chosen.found.entry, "Debian GNU/Linux");
    assert_eq!(chosen.found.kernel, "(hd0,0)/boot/vmlinuz-6.1.0-18-amd64");
    assert_eq!(chosen.found.initrd, ["(hd0,0)/boot/initrd.img-6.1.0-18-amd64"]);
    assert_eq!(
        chosen.cmdline,
        format!("root=UUID={ROOT_UUID} ro net.ifnames=0 quiet console=hvc0")
    );
    assert!(disk.variables().is_empty());
}

#[test]
fn an_entry_that_grub_editenv_asks_for_once_is_booted_once_and_savedefault_is_kept() {
    let advanced = format!("gnulinux-advanced-{ROOT_UUID}>gnulinux-6.1.0-9-amd64-advanced-{ROOT_UUID}");
    let disk = Installed::new(
        "GRUB_DEFAULT=saved\nGRUB_SAVEDEFAULT=true\nGRUB_RECORDFAIL_TIMEOUT=5\n",
        &["saved_entry=0", &format!("next_entry={advanced}")],
    );
    let once = disk.boot();
    assert_eq!(once.found.kernel, "(hd0,0)/boot/vmlinuz-6.1.0-9-amd64");
    assert_eq!(once.found.place, "1>2");
    assert!(
        once.found.reason.contains("asked for once"),
        "{}",
        once.found.reason
    );
    assert_eq!(disk.variables(), ["saved_entry=0", "next_entry="]);
    assert_eq!(disk.boot().found.kernel, "(hd0,0)/boot/vmlinuz-6.1.0-18-amd64");
    let saved = format!("saved_entry=gnulinux-simple-{ROOT_UUID}");
    assert_eq!(disk.variables(), [saved.as_str(), "next_entry="]);
    assert_eq!(disk.boot().found.place, "0");
}
