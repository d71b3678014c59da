//! A good disk, and the same broken in one way after the other.

use super::super::pvgrub::tests::fixtures::{
    Partition, ROOT_UUID, btrfs, disk, fat, file_system, gpt_bytes, kernel,
};
use super::cpio::tests::archive;
use super::*;

const BIOS_BOOT: &str = "21686148-6449-6E6F-744E-656564454649";
const EFI_SYSTEM: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";

/// The parts of a disk that boots by a BIOS, by UEFI and by its menu; each can be broken.
struct Parts {
    has_boot_code: bool,
    has_bios_partition: bool,
    esp: Option<Vec<(&'static str, Vec<u8>)>>,
    grub_cfg: String,
    fstab: String,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    built_in: &'static str,
    release: &'static str,
    /// The file system says that it was not unmounted (the feature `needs_recovery`), and its journal is none.
    is_dirty: bool,
    /// The subvolume of Btrfs that the system is in, in place of ext4.
    btrfs: Option<&'static str>,
}

/// As much of an EFI program, for this processor, as firmware looks at first.
fn program(machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 64;
    bytes[64..68].copy_from_slice(b"PE\0\0");
    bytes[68..70].copy_from_slice(&machine.to_le_bytes());
    bytes
}

impl Default for Parts {
    fn default() -> Parts {
        let modules = [
            ("usr/lib/modules/6.1/kernel/virtio_blk.ko", &b"1"[..]),
            ("usr/lib/modules/6.1/kernel/virtio_pci.ko.xz", b"22"),
        ];
        Parts {
            has_boot_code: true,
            has_bios_partition: true,
            esp: Some(vec![("/EFI/BOOT/BOOTX64.EFI", program(0x8664))]),
            grub_cfg: format!(
                "menuentry 'Debian' {{ linux /boot/vmlinuz-6.1 root=UUID={ROOT_UUID} ro console=ttyS0\n\
                 initrd /boot/initrd.img-6.1\n}}\n"
            ),
            fstab: format!(
                "# a comment\nUUID={ROOT_UUID} / ext4 errors=remount-ro 0 1\nUUID=ABCD-1234 /boot/efi vfat defaults 0 2\n\
                 tmpfs /tmp tmpfs\nLABEL=data /data ext4 nofail 0 2\n"
            ),
            kernel: kernel(),
            initrd: archive(&modules),
            built_in: "kernel/fs/ext4/ext4.ko\n",
            release: "ID=debian\nVERSION_ID=\"12\"\n",
            is_dirty: false,
            btrfs: None,
        }
    }
}

impl Parts {
    fn disk(&self) -> Arc<dyn Disk> {
        disk(&self.bytes())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut partitions = Vec::new();
        if self.has_bios_partition {
            // A boot loader, which is no file system.
            partitions.push(Partition::new(BIOS_BOOT, vec![0x90; 1 << 20]));
        }
        if let Some(files) = &self.esp {
            let files: Vec<(&str, &[u8])> = files
                .iter()
                .map(|(path, bytes)| (*path, bytes.as_slice()))
                .collect();
            partitions.push(Partition::new(EFI_SYSTEM, fat("FAT16", &files)));
        }
        let files: &[(&str, &[u8])] = &[
            ("/boot/grub/grub.cfg", self.grub_cfg.as_bytes()),
            ("/boot/vmlinuz-6.1", &self.kernel),
            ("/boot/initrd.img-6.1", &self.initrd),
            ("/etc/fstab", self.fstab.as_bytes()),
            ("/etc/os-release", self.release.as_bytes()),
            ("/lib/modules/6.1/modules.builtin", self.built_in.as_bytes()),
        ];
        // Without a menu the file is not there.
        let files = if self.grub_cfg.is_empty() {
            &files[1..]
        } else {
            files
        };
        let root = match self.btrfs {
            Some(subvolume) => {
                let mut writer = btrfs(subvolume, files);
                writer.has_log = self.is_dirty;
                writer.bytes()
            }
            None => self.ext(files),
        };
        partitions.push(Partition::new(LINUX, root));
        let mut bytes = gpt_bytes(&partitions);
        if self.has_boot_code {
            bytes[..3].copy_from_slice(b"\xeb\x63\x90");
        }
        bytes
    }

    fn ext(&self, files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut root = file_system(files, &["-t", "ext4", "-U", ROOT_UUID, "-O", "^metadata_csum"]);
        if self.is_dirty {
            root[0x460] |= 4;
            let journal = root
                .windows(8)
                .position(|bytes| bytes == b"\xc0\x3b\x39\x98\0\0\0\x04");
            root[journal.expect("it has a journal")..][..8].fill(0);
        }
        root
    }

    fn findings(&self) -> Vec<Finding> {
        examine(&self.disk(), None, CpuLevel::V2)
            .expect("it can be read")
            .0
    }
}

fn codes(findings: &[Finding]) -> Vec<(&'static str, Severity)> {
    findings
        .iter()
        .map(|finding| (finding.code, finding.severity))
        .collect()
}

#[test]
fn a_good_disk_has_no_findings() {
    assert_eq!(Parts::default().findings(), []);
    let built_in = Parts {
        initrd: archive(&[("init", b"#!/bin/sh")]),
        built_in: "kernel/drivers/block/virtio_blk.ko\nkernel/drivers/virtio/virtio_pci.ko\n",
        ..Parts::default()
    };
    assert_eq!(built_in.findings(), [], "drivers may be built in");
    let numbered = Parts {
        initrd: archive(&[
            ("modules/05-virtio_pci.ko", b"1"),
            ("modules/06-virtio-blk.ko", b"1"),
        ]),
        ..Parts::default()
    };
    assert_eq!(
        numbered.findings(),
        [],
        "some are numbered in the order of their loading"
    );
    let early = [
        archive(&[("kernel/x86/microcode", b"early")]),
        vec![0; 512],
        Parts::default().initrd,
    ]
    .concat();
    let in_two = Parts {
        initrd: early,
        ..Parts::default()
    };
    assert_eq!(in_two.findings(), [], "archives lie one behind the other");
}

#[test]
fn a_system_on_btrfs_is_examined_wherever_its_root_is() {
    for subvolume in ["", "/@", "/root", "/@rootfs"] {
        let good = || {
            let parts = Parts::default();
            let prefix = format!("linux {subvolume}/boot");
            Parts {
                btrfs: Some(subvolume),
                grub_cfg: parts.grub_cfg.replace("linux /boot", &prefix),
                ..parts
            }
        };
        assert_eq!(good().findings(), [], "{subvolume}");
        let faults = [
            (
                "FileSystemNotClean",
                Parts {
                    is_dirty: true,
                    ..good()
                },
            ),
            (
                "RootMissing",
                Parts {
                    grub_cfg: good()
                        .grub_cfg
                        .replace(ROOT_UUID, "0f2f4ec8-8e53-4ef2-a1c5-b7c5d1a5a0aa"),
                    ..good()
                },
            ),
            (
                "FstabRootMissing",
                Parts {
                    fstab: "UUID=0f2f4ec8-8e53-4ef2-a1c5-b7c5d1a5a0aa / btrfs subvol=@ 0 0\n".into(),
                    ..good()
                },
            ),
            (
                "CpuLevel",
                Parts {
                    release: "ID=rocky\nID_LIKE=rhel\nVERSION_ID=10\n",
                    ..good()
                },
            ),
            (
                "InitramfsWithoutVirtio",
                Parts {
                    initrd: archive(&[("init", b"#!/bin/sh")]),
                    ..good()
                },
            ),
        ];
        for (code, parts) in faults {
            let found = codes(&parts.findings());
            assert!(
                found.len() == 1 && found[0].0 == code,
                "{subvolume}: {code}: {found:?}"
            );
        }
        let built_in = Parts {
            initrd: archive(&[("init", b"#!/bin/sh")]),
            built_in: "kernel/drivers/block/virtio_blk.ko\nkernel/drivers/virtio/virtio_pci.ko\n",
            ..good()
        };
        assert_eq!(built_in.findings(), [], "{subvolume}: drivers may be built in");
    }
}

#[test]
fn a_disk_that_was_not_copied_whole_is_advised_to_be_compared_and_not_to_get_a_boot_loader() {
    let whole = file_system(&[("/etc/fstab", b"")], &["-t", "ext4"]);
    let advice = |bytes: &[u8]| {
        let (found, _) = examine(&disk(bytes), None, CpuLevel::V2).expect("it can be read");
        let nothing = found.into_iter().find(|finding| finding.code == "NothingToBoot");
        nothing.expect("it has nothing to boot").fix
    };
    assert!(advice(&whole).starts_with("install a boot loader"));
    let data = file_system(&[("/photos/1.jpg", b"")], &["-t", "ext4"]);
    assert!(advice(&data).starts_with("there is no system on it"));
    assert!(advice(&whole[..whole.len() / 2]).contains("was not copied whole"));
}

#[test]
fn a_disk_that_ends_before_its_partitions_do_is_said_to_be_cut_off() {
    let whole = Parts::default().bytes();
    for len in [whole.len() / 1024 * 512, whole.len() - (1 << 20)] {
        let (found, _) = examine(&disk(&whole[..len]), None, CpuLevel::V2).expect("it can be read");
        let first = codes(&found)[0];
        assert_eq!(
            first,
            ("DiskCutOff", Severity::Error),
            "{len} of {}: {found:?}",
            whole.len()
        );
    }
}

#[test]
fn hazard_a_disk_that_will_not_boot_is_named_with_its_fault() {
    let good = Parts::default;
    let faults: [(&str, Severity, Parts); 16] = [
        (
            "EfiLoaderNotAProgram",
            Severity::Error,
            Parts {
                esp: Some(vec![("/EFI/BOOT/BOOTX64.EFI", b"#!/bin/sh\n".to_vec())]),
                ..good()
            },
        ),
        (
            "EfiLoaderNotAProgram",
            Severity::Error,
            Parts {
                esp: Some(vec![("/EFI/BOOT/BOOTX64.EFI", program(0x014c))]),
                ..good()
            },
        ),
        (
            "NoMenu",
            Severity::Warning,
            Parts {
                grub_cfg: String::new(),
                ..good()
            },
        ),
        (
            "NoMenu",
            Severity::Warning,
            Parts {
                grub_cfg: "menuentry foo { linux".into(),
                ..good()
            },
        ),
        (
            "NothingToBoot",
            Severity::Error,
            Parts {
                has_boot_code: false,
                has_bios_partition: false,
                esp: None,
                fstab: String::new(),
                grub_cfg: "not a menu".into(),
                ..good()
            },
        ),
        (
            "NoBootCode",
            Severity::Error,
            Parts {
                has_boot_code: false,
                ..good()
            },
        ),
        (
            "NoEfiLoader",
            Severity::Error,
            Parts {
                esp: Some(vec![("/readme.txt", b"x".to_vec())]),
                ..good()
            },
        ),
        (
            "NoFallbackLoader",
            Severity::Error,
            Parts {
                esp: Some(vec![("/EFI/debian/grubx64.efi", b"MZ".to_vec())]),
                ..good()
            },
        ),
        (
            "MenuKernelMissing",
            Severity::Error,
            Parts {
                grub_cfg: good().grub_cfg.replace("vmlinuz-6.1", "vmlinuz-6.12"),
                ..good()
            },
        ),
        (
            "RootMissing",
            Severity::Error,
            Parts {
                grub_cfg: good()
                    .grub_cfg
                    .replace(ROOT_UUID, "99999999-2222-3333-4444-555555555555"),
                ..good()
            },
        ),
        (
            "FstabRootMissing",
            Severity::Error,
            Parts {
                fstab: good()
                    .fstab
                    .replace(ROOT_UUID, "99999999-2222-3333-4444-555555555555"),
                ..good()
            },
        ),
        (
            "FstabFileSystemMissing",
            Severity::Warning,
            Parts {
                fstab: good().fstab.replace("ABCD-1234", "1234-ABCD"),
                ..good()
            },
        ),
        (
            "InitramfsWithoutVirtio",
            Severity::Error,
            Parts {
                initrd: archive(&[("usr/lib/modules/6.1/kernel/ahci.ko", b"1")]),
                ..good()
            },
        ),
        (
            "NoSerialConsole",
            Severity::Warning,
            Parts {
                grub_cfg: good().grub_cfg.replace(" console=ttyS0", ""),
                ..good()
            },
        ),
        (
            "FileSystemNotClean",
            Severity::Warning,
            Parts {
                is_dirty: true,
                ..good()
            },
        ),
        (
            "CpuLevel",
            Severity::Error,
            Parts {
                release: "ID=rhel\nVERSION_ID=10.0\nPRETTY_NAME=\"Red Hat Enterprise Linux 10\"\n",
                ..good()
            },
        ),
    ];
    for (code, severity, parts) in faults {
        let findings = parts.findings();
        assert_eq!(codes(&findings), [(code, severity)], "{findings:#?}");
        assert!(!findings[0].message.is_empty() && !findings[0].fix.is_empty());
    }
}

fn found_on(bytes: &[u8], way: Option<Way>) -> Vec<(&'static str, Severity)> {
    codes(&examine(&disk(bytes), way, CpuLevel::V2).unwrap().0)
}

#[test]
fn a_disk_whose_system_is_destroyed_has_none() {
    for with in [0, 0xa5] {
        let mut bytes = Parts::default().bytes();
        let table = probe::PartitionTable::read(&disk(&bytes)).unwrap();
        let root = table
            .partitions
            .iter()
            .find(|partition| partition.is_linux())
            .unwrap();
        let start = usize::try_from(root.start).unwrap();
        bytes[start..][..1 << 20].fill(with);
        for way in [None, Some(Way::Bios), Some(Way::Uefi)] {
            assert_eq!(found_on(&bytes, way), [("NoSystem", Severity::Error)], "{way:?}");
        }
    }
}

#[test]
fn a_partition_table_of_which_only_the_second_copy_is_sound_is_told() {
    let mut bytes = Parts::default().bytes();
    bytes[512..][..512].fill(0);
    for (way, severity) in [
        (None, Severity::Error),
        (Some(Way::Bios), Severity::Error),
        (Some(Way::Pv), Severity::Error),
        (Some(Way::Uefi), Severity::Warning),
    ] {
        assert_eq!(
            found_on(&bytes, way),
            [("PartitionTableDamaged", severity)],
            "{way:?}"
        );
    }
}

#[test]
fn grub_without_its_menu_stops_at_its_prompt_and_other_loaders_may_know_more() {
    let no_menu = Parts {
        grub_cfg: String::new(),
        ..Parts::default()
    };
    let mut bytes = no_menu.bytes();
    assert_eq!(found_on(&bytes, None), [("NoMenu", Severity::Warning)]);
    bytes[0x180..][..4].copy_from_slice(b"GRUB");
    assert_eq!(found_on(&bytes, None), [("NoMenu", Severity::Error)]);
    let by_uefi = Parts {
        esp: Some(vec![
            ("/EFI/BOOT/BOOTX64.EFI", program(0x8664)),
            ("/EFI/debian/grubx64.efi", program(0x8664)),
        ]),
        grub_cfg: String::new(),
        ..Parts::default()
    };
    assert_eq!(
        by_uefi.findings().first().map(|found| found.severity),
        Some(Severity::Error)
    );
}

#[test]
fn a_device_that_fstab_names_is_on_the_disk_or_missing() {
    let with = |line: &str| {
        let parts = Parts::default();
        let fstab = format!("{}{line}\n", parts.fstab);
        codes(&Parts { fstab, ..parts }.findings())
    };
    for line in [
        "/dev/vda3 /boot/efi vfat defaults 0 2",
        "/dev/sdb1 /data ext4 nofail 0 2",
        "/dev/sda1 / ext4 defaults 0 1",
        "/dev/mapper/vg-data /data ext4 defaults 0 2",
        "/dev/fd0 /floppy vfat defaults 0 0",
        "/dev/sdb1",
    ] {
        assert_eq!(with(line), [], "{line}");
    }
    for line in [
        "/dev/sdb1 /data ext4 defaults 0 2",
        "/dev/vda7 /data ext4 defaults 0 2",
        "/dev/xvdf none swap sw 0 0",
    ] {
        assert_eq!(
            with(line),
            [("FstabFileSystemMissing", Severity::Warning)],
            "{line}"
        );
    }
}

#[test]
fn a_way_that_leads_nowhere_is_told_with_the_others_that_the_disk_has() {
    let no_loader = Parts {
        esp: Some(vec![("/readme.txt", b"x".to_vec())]),
        ..Parts::default()
    };
    let advice = &no_loader.findings()[0].fix;
    assert!(
        advice.ends_with(", or launch with --boot bios or fast"),
        "{advice}"
    );
}

#[test]
fn a_damaged_kernel_and_a_damaged_initramfs_are_found() {
    let mut kernel = kernel();
    let packed = kernel.windows(3).position(|bytes| bytes == b"\x1f\x8b\x08");
    kernel[packed.expect("it is packed by gzip") + 10..][..8].fill(0xa5);
    let damaged = Parts {
        kernel,
        ..Parts::default()
    };
    assert_eq!(codes(&damaged.findings()), [("KernelDamaged", Severity::Error)]);
    let cut_off = Parts {
        initrd: Parts::default().initrd[..150].to_vec(),
        ..Parts::default()
    };
    assert_eq!(
        codes(&cut_off.findings()),
        [("InitramfsDamaged", Severity::Error)]
    );
}

#[test]
fn a_way_to_boot_that_was_asked_for_must_be_there() {
    let pv_only = Parts {
        has_boot_code: false,
        has_bios_partition: false,
        esp: None,
        fstab: String::new(),
        ..Parts::default()
    };
    let found = |way| examine(&pv_only.disk(), Some(way), CpuLevel::V2).unwrap().0;
    let asked = |way| codes(&found(way));
    assert_eq!(asked(Way::Pv), []);
    assert_eq!(asked(Way::Bios), [("NoBootCode", Severity::Error)]);
    assert_eq!(asked(Way::Uefi), [("NoEfiSystemPartition", Severity::Error)]);
    for way in [Way::Bios, Way::Uefi] {
        let advice = &found(way)[0].fix;
        assert!(advice.ends_with(", or launch with --boot fast"), "{advice}");
    }
    let no_menu = Parts {
        grub_cfg: "not a menu".into(),
        ..Parts::default()
    };
    let found = examine(&no_menu.disk(), Some(Way::Pv), CpuLevel::V2).unwrap().0;
    assert_eq!(codes(&found), [("NoMenu", Severity::Error)]);
    let known_to_its_loader = codes(&no_menu.findings());
    assert_eq!(known_to_its_loader, [("NoMenu", Severity::Warning)], "perhaps");
}
