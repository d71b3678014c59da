//! Menus and images that Debian's own tools write, here and now.

use super::debian::Debian;
use super::disks::{EFI_SYSTEM, EXTENDED_BOOT, LINUX};
use super::fixtures::{File, Partition, ROOT_UUID, fat, gpt, kernel, unpartitioned};
use super::{Chosen, choose};

/// Two kernels, whose names sort the other way round than their versions; then the menu is printed.
const U_BOOT_UPDATE: &str = "cd /boot; for version in 6.1.0-9-amd64 6.1.0-18-amd64; do \
    for name in vmlinuz initrd.img config; do echo $name >$name-$version; done; done; \
    u-boot-update; cat /boot/extlinux/extlinux.conf";

/// The menu for these settings; the folders `own` are file systems of their own.
fn u_boot_menu(suite: &str, own: &[&str], settings: &str) -> Vec<u8> {
    let debian = Debian::of(suite);
    let fstab = format!("# <file system> <mount point>\nUUID={ROOT_UUID} / ext4 errors=remount-ro 0 1\n");
    std::fs::write(debian.path("/etc/fstab"), fstab).unwrap();
    std::fs::create_dir(debian.path("/etc/default")).unwrap();
    std::fs::write(debian.path("/etc/default/u-boot"), settings).unwrap();
    debian.sh(own, U_BOOT_UPDATE)
}

/// The files that the menu names, in `folder`, and the menu.
fn booted_by(menu: &[u8], folder: &str, disk: impl Fn(&[File<'_>]) -> Chosen) -> Chosen {
    let kernel = kernel();
    let named = ["6.1.0-9-amd64", "6.1.0-18-amd64"]
        .map(|version| ["vmlinuz", "initrd.img"].map(|name| format!("{folder}/{name}-{version}")));
    let path = format!("{folder}/extlinux/extlinux.conf");
    let mut files: Vec<File<'_>> = vec![(&path, menu)];
    for [kernel_path, initrd_path] in &named {
        files.extend([
            (kernel_path.as_str(), kernel.as_slice()),
            (initrd_path.as_str(), b"cpio"),
        ]);
    }
    disk(&files)
}

#[test]
fn a_menu_that_u_boot_update_wrote_boots_the_newest_kernel_or_its_default() {
    for (suite, title) in [
        ("bookworm", "Debian GNU/Linux 12 (bookworm)"),
        ("trixie", "Debian GNU/Linux 13 (trixie)"),
    ] {
        let boot = |settings| {
            let menu = u_boot_menu(suite, &[], settings);
            booted_by(&menu, "/boot", |files| {
                choose(&unpartitioned(files), None).unwrap()
            })
        };
        let Chosen { cmdline, found, .. } = boot("");
        assert_eq!(found.menu, "(hd0)/boot/extlinux/extlinux.conf");
        assert_eq!(found.entry, format!("{title} 6.1.0-18-amd64"));
        assert_eq!(found.kernel, "(hd0)/boot/vmlinuz-6.1.0-18-amd64");
        assert_eq!(found.initrd, ["(hd0)/boot/initrd.img-6.1.0-18-amd64"]);
        assert_eq!(found.reason, "entry 0 is the menu's DEFAULT");
        assert_eq!(cmdline, format!("root=UUID={ROOT_UUID} ro quiet console=ttyS0"));

        let older = boot("U_BOOT_DEFAULT=l1r\nU_BOOT_PARAMETERS='ro quiet console=hvc0'\n");
        assert_eq!(
            older.found.entry,
            format!("{title} 6.1.0-9-amd64 (rescue target)")
        );
        assert_eq!(older.found.kernel, "(hd0)/boot/vmlinuz-6.1.0-9-amd64");
        assert_eq!(
            older.cmdline,
            format!("root=UUID={ROOT_UUID} ro console=hvc0 single")
        );
    }
}

#[test]
fn a_menu_that_u_boot_update_wrote_on_a_boot_partition_finds_its_kernel_there() {
    for suite in ["bookworm", "trixie"] {
        let menu = u_boot_menu(suite, &["boot"], "");
        let chosen = booted_by(&menu, "", |files| {
            let root = Partition::ext_with(LINUX, &[("/etc/fstab", b"")], &["-U", ROOT_UUID]);
            choose(&gpt(&[Partition::ext(EXTENDED_BOOT, files), root]), None).unwrap()
        });
        assert_eq!(chosen.found.menu, "(hd0,0)/extlinux/extlinux.conf");
        assert_eq!(chosen.found.kernel, "(hd0,0)/vmlinuz-6.1.0-18-amd64");
        assert_eq!(chosen.found.initrd, ["(hd0,0)/initrd.img-6.1.0-18-amd64"]);
    }
}

/// A kernel of this version that, as those of Debian, is by its first bytes a program for EFI, too.
fn efi_kernel(version: &str) -> Vec<u8> {
    let mut file = kernel();
    let version = format!("{version} (debian@debian) #1 SMP\0");
    // Headers of a PE32+ without sections, and where the version is.
    for (at, bytes) in [
        (0, &b"MZ"[..]),
        (0x3c, b"\x40"),
        (0x40, b"PE\0\0\x64\x86"),
        (0x54, b"\x70"),
        (0x58, b"\x0b\x02"),
        (0x20e, b"\0\x01"),
        (0x300, version.as_bytes()),
    ] {
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }
    file
}

/// A root with this kernel and two archives in its `/tmp`.
fn with_kernel(suite: &str, kernel: &[u8]) -> Debian {
    let debian = Debian::of(suite);
    for (name, content) in [("kernel", kernel), ("one", b"first"), ("two", b"second")] {
        std::fs::write(debian.path("/tmp").join(name), content).unwrap();
    }
    debian
}

/// What is booted of an EFI system partition with these images of the root's `/tmp`.
fn booted_of(debian: &Debian, images: &[&str]) -> Chosen {
    let images: Vec<(String, Vec<u8>)> = images
        .iter()
        .map(|name| {
            let image = std::fs::read(debian.path("/tmp").join(name)).unwrap();
            (format!("/EFI/Linux/{name}"), image)
        })
        .collect();
    let files: Vec<File<'_>> = images
        .iter()
        .map(|(path, image)| (path.as_str(), image.as_slice()))
        .collect();
    let disk = gpt(&[
        Partition::new(EFI_SYSTEM, fat("FAT16", &files)),
        Partition::ext_with(LINUX, &[("/etc/fstab", b"")], &["-U", ROOT_UUID]),
    ]);
    choose(&disk, None).unwrap()
}

#[test]
fn images_that_ukify_made_boot_the_newest_with_all_that_is_in_it() {
    let kernels = ["6.12.9", "6.12.10"].map(efi_kernel);
    let debian = with_kernel("trixie", &kernels[1]);
    std::fs::write(debian.path("/tmp/older"), &kernels[0]).unwrap();
    debian.sh(
        &[],
        "cd /tmp; for kernel in older kernel; do ukify build --linux=$kernel --initrd=one --initrd=two \
         --cmdline=\"root=LABEL=root ro console=hvc0 of=$kernel\" --output=debian-$kernel+3.efi; done",
    );
    let chosen = booted_of(&debian, &["debian-older+3.efi", "debian-kernel+3.efi"]);
    assert!(chosen.kernel == kernels[1]);
    assert_eq!(chosen.initrd, b"first\0\0\0second\0\0");
    assert_eq!(chosen.cmdline, "root=LABEL=root ro console=hvc0 of=kernel");
    let found = chosen.found;
    assert_eq!(found.entry, "Debian GNU/Linux 13 (trixie)");
    assert_eq!(found.kernel, "(hd0,0)/EFI/Linux/debian-kernel+3.efi");
}

#[test]
fn of_the_profiles_that_ukify_joined_the_first_is_booted() {
    let debian = with_kernel("trixie", &efi_kernel("6.12.10"));
    debian.sh(
        &[],
        "cd /tmp; ukify build --profile='ID=reset' --cmdline=reset --output=reset.efi; \
         ukify build --linux=kernel --join-profile=reset.efi --output=bare.efi; \
         ukify build --linux=kernel --join-profile=reset.efi --cmdline='ro console=hvc0' --output=own.efi",
    );
    assert_eq!(booted_of(&debian, &["bare.efi"]).cmdline, "console=ttyS0");
    // A profile that is a file of its own has no kernel: it is no entry.
    let chosen = booted_of(&debian, &["own.efi", "reset.efi"]);
    assert_eq!(chosen.cmdline, "ro console=hvc0");
}

/// The way of systemd-stub(7) in Debian 12.
const OBJCOPY: &str = "cd /tmp; echo root=LABEL=root ro console=hvc0 >cmdline; objcopy \
    --add-section .osrel=/usr/lib/os-release --change-section-vma .osrel=0x20000 \
    --add-section .cmdline=cmdline --change-section-vma .cmdline=0x30000 \
    --add-section .linux=kernel --change-section-vma .linux=0x2000000 \
    --add-section .initrd=one --change-section-vma .initrd=0x3000000 \
    /usr/lib/systemd/boot/efi/linuxx64.efi.stub debian.efi";

#[test]
fn an_image_that_objcopy_made_of_debian_12_s_stub_boots() {
    let kernel = efi_kernel("6.1.0");
    let debian = with_kernel("bookworm", &kernel);
    debian.sh(&[], OBJCOPY);
    let chosen = booted_of(&debian, &["debian.efi"]);
    assert!(chosen.kernel == kernel);
    assert_eq!(chosen.initrd, b"first");
    assert_eq!(chosen.cmdline, "root=LABEL=root ro console=hvc0");
    assert_eq!(chosen.found.entry, "Debian GNU/Linux 12 (bookworm)");
}
