//! Disks as users have them, and what is said of broken ones.

mod cost;
mod debian;
mod disks;
pub(in crate::boot) mod fixtures;
mod tools;

use super::{Architecture, BootError, Chosen, choose, inspect};
use crate::boot::payload::tests::fixtures::{bzimage, payload, vmlinux};
use fixtures::{
    File, ROOT_UUID, disk, kernel, partitioned, partitioned_bytes, unpartitioned, unpartitioned_as,
};

const MENU: &[u8] = b"default 0\nfallback 1\n\
    title Newest\nroot (hd0)\nkernel /boot/vmlinuz root=/dev/xvda1 ro\ninitrd /boot/initrd\n\
    title Older\nroot (hd0)\nkernel /boot/vmlinuz.old root=/dev/xvda1 ro\n";

fn said(disk: &std::sync::Arc<dyn kiln_imagefmt::Disk>) -> String {
    choose(disk, None).unwrap_err().to_string()
}

fn pv(files: &[File<'_>]) -> Result<Chosen, BootError> {
    choose(&unpartitioned(files), None)
}

#[test]
fn an_unpartitioned_disk_boots_its_menus_default() {
    let kernel = kernel();
    for family in ["ext2", "ext3", "ext4"] {
        let disk = unpartitioned_as(
            family,
            &[
                ("/boot/grub/menu.lst", MENU),
                ("/boot/vmlinuz", &kernel),
                ("/boot/initrd", b"cpio"),
            ],
        );
        let chosen = choose(&disk, Some("quiet")).unwrap();
        assert!(chosen.kernel == kernel);
        assert_eq!(chosen.initrd, b"cpio");
        assert_eq!(
            chosen.cmdline,
            format!("root=UUID={ROOT_UUID} ro quiet console=ttyS0")
        );
        let found = chosen.found;
        assert_eq!(
            (found.menu.as_str(), found.partition),
            ("(hd0)/boot/grub/menu.lst", None)
        );
        assert_eq!((found.entry.as_str(), found.place.as_str()), ("Newest", "0"));
        assert_eq!(found.kernel, "(hd0)/boot/vmlinuz");
        assert_eq!(found.initrd, ["(hd0)/boot/initrd"]);
        assert_eq!(found.reason, "entry 0 is the menu's default");
        assert_eq!(found.rewritten.len(), 3, "{:?}", found.rewritten);
    }
}

#[test]
fn the_first_partition_and_a_boot_partition_of_its_own_are_found() {
    let kernel = kernel();
    let menu = b"title a\nroot (hd0,0)\nkernel /vmlinuz root=/dev/sda2 console=hvc0\ninitrd (hd0,1)/initrd\n";
    let disk = partitioned(&[
        &[("/grub/menu.lst", menu), ("/vmlinuz", &kernel)],
        &[("/initrd", b"x")],
    ]);
    let chosen = choose(&disk, None).unwrap();
    assert_eq!(chosen.found.menu, "(hd0,0)/grub/menu.lst");
    assert_eq!(chosen.found.initrd, ["(hd0,1)/initrd"]);
    assert!(chosen.cmdline.starts_with("root=UUID=") && chosen.cmdline.ends_with(" console=hvc0"));
}

#[test]
fn a_menu_on_a_later_partition_is_found() {
    let kernel = kernel();
    let menu = b"title a\nkernel /vmlinuz console=hvc0\n";
    let disk = partitioned(&[&[], &[("/boot/grub/menu.lst", menu), ("/vmlinuz", &kernel)]]);
    assert_eq!(choose(&disk, None).unwrap().found.kernel, "(hd0,1)/vmlinuz");
}

#[test]
fn a_menu_from_the_other_kind_of_disk_is_understood_and_noted() {
    let kernel = kernel();
    let menu = b"title a\nroot (hd0,0)\nkernel /vmlinuz\n";
    let chosen = pv(&[("/boot/grub/menu.lst", menu), ("/vmlinuz", &kernel)]).unwrap();
    assert_eq!(
        chosen.found.notes,
        ["(hd0,0) is taken as (hd0): the root disk has no partitions"]
    );
    let menu = b"title a\nroot (hd0)\nkernel /vmlinuz\n";
    let disk = partitioned(&[&[("/boot/grub/menu.lst", menu), ("/vmlinuz", &kernel)]]);
    let chosen = choose(&disk, None).unwrap();
    assert_eq!(
        chosen.found.notes,
        ["(hd0) is taken as (hd0,0): the root disk has partitions"]
    );
}

#[test]
fn a_menu_that_is_a_link_or_spelled_grub_conf_is_found() {
    let kernel = kernel();
    let menu = b"title a\nkernel /vmlinuz\n";
    let files: &[File<'_>] = &[
        ("/boot/grub/grub.conf", menu),
        ("/boot/grub/menu.lst", b"->./grub.conf"),
        ("/vmlinuz", b"->boot/real"),
        ("/boot/real", &kernel),
    ];
    assert_eq!(pv(files).unwrap().found.menu, "(hd0)/boot/grub/menu.lst");
    let chosen = pv(&[("/boot/grub/grub.conf", menu), ("/vmlinuz", &kernel)]).unwrap();
    assert_eq!(chosen.found.menu, "(hd0)/boot/grub/grub.conf");
}

#[test]
fn the_saved_default_is_read_beside_the_menu() {
    let kernel = kernel();
    let menu = b"default saved\ntitle a\nkernel /none\ntitle b\nkernel /vmlinuz\n";
    let files: &[File<'_>] = &[
        ("/boot/grub/menu.lst", menu),
        ("/boot/grub/default", b"1\n#\n#\n"),
        ("/vmlinuz", &kernel),
    ];
    let found = pv(files).unwrap().found;
    assert_eq!(found.reason, "entry 1 is the saved default (/boot/grub/default)");
}

#[test]
fn a_default_that_cannot_be_booted_falls_back_and_says_why() {
    let kernel = kernel();
    let files: &[File<'_>] = &[("/boot/grub/menu.lst", MENU), ("/boot/vmlinuz.old", &kernel)];
    let found = pv(files).unwrap().found;
    assert_eq!(found.place, "1");
    assert_eq!(
        found.reason,
        "entry 1 is booted instead of entry 0 (\"Newest\"): its kernel cannot be read from (hd0): \
         there is no /boot/vmlinuz"
    );
}

#[test]
fn headings_are_passed_over() {
    let kernel = kernel();
    let menu = b"title Linux kernels:\nroot\ntitle Windows\nchainloader +1\ntitle a\nkernel /vmlinuz\n";
    let found = pv(&[("/boot/grub/menu.lst", menu), ("/vmlinuz", &kernel)])
        .unwrap()
        .found;
    assert_eq!(found.place, "2");
}

#[test]
fn several_initramfs_files_are_joined_at_multiples_of_four() {
    let kernel = kernel();
    let menu = b"title a\nkernel /vmlinuz\ninitrd /one /two\n";
    let files: &[File<'_>] = &[
        ("/boot/grub/menu.lst", menu),
        ("/vmlinuz", &kernel),
        ("/one", b"12345"),
        ("/two", b"67"),
    ];
    assert_eq!(pv(files).unwrap().initrd, b"12345\0\0\x0067");
}

#[test]
fn hazard_broken_images_are_named_before_launch() {
    let blank = disk(&[0; 1 << 20]);
    assert_eq!(
        said(&blank),
        "no file system that can be read is on the root disk (ext2, ext3, ext4, XFS, Btrfs and FAT can): \
         (hd0) (empty (only zero bytes))"
    );
    let mut ntfs = vec![0; 1 << 20];
    ntfs[3..11].copy_from_slice(b"NTFS    ");
    assert!(said(&disk(&ntfs)).ends_with("(hd0) (NTFS)"));
    assert_eq!(
        said(&unpartitioned(&[])),
        "no boot menu is on the root disk: no grub/menu.lst, grub/grub.conf, grub/grub.cfg, grub2/grub.cfg, \
         loader/entries, EFI/Linux, extlinux/extlinux.conf or syslinux/syslinux.cfg, at the top or in /boot, \
         is there; looked on (hd0) (ext4)"
    );
    let menu = |text: &[u8], files: &[File<'_>]| {
        let mut all = vec![("/boot/grub/menu.lst", text)];
        all.extend_from_slice(files);
        pv(&all).unwrap_err().to_string()
    };
    assert_eq!(
        menu(b"timeout 5\n", &[]),
        "the boot menu (hd0)/boot/grub/menu.lst has no entries"
    );
    // What was not understood may have been one.
    let script = pv(&[("/boot/grub/grub.cfg", b"menuentry \"a { linux /k }\n")]).unwrap_err();
    assert_eq!(
        script.to_string(),
        "the boot menu (hd0)/boot/grub/grub.cfg has no entries: a menu entry has no body: a quote in it may be open"
    );
    let one = b"title a\nkernel /k\ninitrd /i\n";
    let entry = |rest: &str| {
        format!("no entry of the boot menu (hd0)/boot/grub/menu.lst can be booted: entry 0 (\"a\"): {rest}")
    };
    assert_eq!(menu(b"title a\n", &[]), entry("it names no kernel"));
    assert_eq!(
        menu(one, &[]),
        entry("its kernel cannot be read from (hd0): there is no /k")
    );
    assert_eq!(
        menu(one, &[("/k", b"#!/bin/sh\n")]),
        entry("its kernel (hd0)/k is no kernel, but a script")
    );
    assert_eq!(
        menu(one, &[("/k", &kernel())]),
        entry("its initrd cannot be read from (hd0): there is no /i")
    );
    assert_eq!(
        menu(one, &[("/k/x", b"")]),
        entry("its kernel cannot be read from (hd0): /k is a directory, not a file")
    );
    assert_eq!(
        menu(b"title a\nroot (hd1,0)\nkernel /k\n", &[]),
        entry("(hd1,0) is not there: only the root disk, hd0, is looked at")
    );
    assert_eq!(
        menu(b"title a\nroot (cd)\nkernel /k\n", &[]),
        entry("`(cd)` is no device that is known")
    );
    assert_eq!(
        menu(b"title a\nkernel /xen.gz\nmodule /k\n", &[]),
        entry("it loads modules for a multiboot kernel such as Xen's, not a Linux kernel")
    );
}

#[test]
fn hazard_menus_kernels_and_command_lines_have_limits() {
    let big = vec![b'#'; (256 << 10) + 1];
    let error = pv(&[("/boot/grub/menu.lst", &big)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the boot menu (hd0)/boot/grub/menu.lst cannot be read: \
         /boot/grub/menu.lst is 262145 bytes long, more than the 262144 that are allowed"
    );
    let menu = format!("title a\nkernel /vmlinuz {}\n", "x".repeat(3000));
    let error = pv(&[("/boot/grub/menu.lst", menu.as_bytes()), ("/vmlinuz", &kernel())]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is 3014 bytes long; Linux takes no more than 2047"),
        "{error}"
    );
    let menu = format!(
        "title a\nkernel /vmlinuz {}\n",
        "x".repeat(2047 - " console=ttyS0".len())
    );
    let chosen = pv(&[("/boot/grub/menu.lst", menu.as_bytes()), ("/vmlinuz", &kernel())]).unwrap();
    assert_eq!(chosen.cmdline.len(), 2047);
}

#[test]
fn inspection_tells_how_a_disk_boots_and_what_is_on_it() {
    let kernel = kernel();
    let menu = b"title a\nkernel /vmlinuz\n";
    let report = inspect(&unpartitioned(&[
        ("/boot/grub/menu.lst", menu),
        ("/vmlinuz", &kernel),
    ]))
    .unwrap();
    assert!(report.modes.pv && !report.modes.bios && !report.modes.uefi);
    assert_eq!(report.architecture, Some(Architecture::X86_64));
    assert_eq!(report.volumes[0].uuid.as_deref(), Some(ROOT_UUID));
    assert_eq!(report.warnings, [""; 0]);

    let report = inspect(&unpartitioned(&[])).unwrap();
    assert_eq!(report.boot.unwrap_err().kind(), "no-menu");
    assert!(
        report.warnings[0].starts_with("it will not boot: no boot menu"),
        "{:?}",
        report.warnings
    );

    for family in ["FAT12", "FAT16", "FAT32"] {
        let data = disk(&fixtures::fat(family, &[("/photo.jpg", b"x")]));
        assert!(
            !inspect(&data).unwrap().modes.bios,
            "{family}: mkfs.fat's own code"
        );
    }
    let mut bytes = partitioned_bytes(&[&[]]);
    let modes = inspect(&disk(&bytes)).unwrap().modes;
    assert!(!modes.bios && !modes.uefi);
    let esp = fixtures::Partition::new("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", vec![0; 1 << 20]);
    let modes = inspect(&fixtures::gpt(&[esp])).unwrap().modes;
    assert!(!modes.bios && modes.uefi);
    bytes[..3].copy_from_slice(b"\xeb\x63\x90");
    let report = inspect(&disk(&bytes)).unwrap();
    assert!(
        report.warnings[0].starts_with("by the PV path: "),
        "{:?}",
        report.warnings
    );
}

#[test]
fn a_kernel_that_no_launch_will_load_is_warned_of() {
    let mut vmlinux_of_32_bits = vmlinux(1000);
    (vmlinux_of_32_bits[4], vmlinux_of_32_bits[18]) = (1, 3);
    let mut terse = kernel();
    terse[0x238..0x23c].copy_from_slice(&255_u32.to_le_bytes());
    for (kernel, wanted) in [
        (
            vmlinux_of_32_bits,
            "its kernel will not boot: it is of 32 bits, and such a kernel is entered as a bzImage alone",
        ),
        (
            terse,
            "its kernel will not boot: the command line has 314 bytes; this kernel takes 255",
        ),
    ] {
        let menu = format!("title a\nkernel /vmlinuz {}\n", "x".repeat(300));
        let files: &[File<'_>] = &[("/boot/grub/menu.lst", menu.as_bytes()), ("/vmlinuz", &kernel)];
        assert_eq!(inspect(&unpartitioned(files)).unwrap().warnings, [wanted]);
    }
}

#[test]
fn a_kernel_of_32_bits_and_one_from_before_there_was_a_64_bit_entry_boot_without_a_warning() {
    let mut vmlinux_of_32_bits = vmlinux(1000);
    (vmlinux_of_32_bits[4], vmlinux_of_32_bits[18]) = (1, 3);
    let of_32_bits = bzimage(&payload(&["gzip", "-n"], &vmlinux_of_32_bits));
    let mut old = kernel();
    old[0x206] = 0x0b;
    for (kernel, architecture) in [(of_32_bits, Architecture::I386), (old, Architecture::X86_64)] {
        let menu = b"title a\nkernel /vmlinuz\n";
        let files: &[File<'_>] = &[("/boot/grub/menu.lst", menu), ("/vmlinuz", &kernel)];
        let report = inspect(&unpartitioned(files)).unwrap();
        assert_eq!(
            (report.architecture, report.warnings),
            (Some(architecture), vec![])
        );
    }
}
