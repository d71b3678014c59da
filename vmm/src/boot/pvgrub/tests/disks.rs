//! Where menus are looked for, and of which formats.

use super::super::uki::tests::image;
use super::fixtures::writer::{Piece, SECTOR, TOP};
use super::fixtures::{
    File, Partition, ROOT_UUID, btrfs, disk, fat, gpt, kernel, partitioned, unpartitioned, xfs,
};
use super::{Chosen, choose};

fn menu_of(chosen: Chosen) -> String {
    chosen.found.menu
}

pub(super) const EXTENDED_BOOT: &str = "BC13C2FF-59E6-4262-A352-B275FD6F7172";
pub(super) const EFI_SYSTEM: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
pub(super) const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";

const GRUB_CFG: &[u8] = b"menuentry a { linux /vmlinuz }\n";
const BLS: &[u8] = b"title b\nlinux /vmlinuz\n";

#[test]
fn every_place_of_a_menu_is_looked_at() {
    let kernel = kernel();
    let extlinux = b"label x\nlinux /vmlinuz\n";
    for (path, menu) in [
        ("/boot/grub/grub.cfg", GRUB_CFG),
        ("/boot/grub2/grub.cfg", GRUB_CFG),
        ("/grub/grub.cfg", GRUB_CFG),
        ("/grub2/grub.cfg", GRUB_CFG),
        ("/boot/loader/entries/a.conf", BLS),
        ("/loader/entries/a.conf", BLS),
        ("/boot/extlinux/extlinux.conf", extlinux),
        ("/extlinux/extlinux.conf", extlinux),
        ("/boot/syslinux/syslinux.cfg", extlinux),
        ("/syslinux/syslinux.cfg", extlinux),
        ("/boot/extlinux.conf", extlinux),
    ] {
        let chosen = choose(&unpartitioned(&[(path, menu), ("/vmlinuz", &kernel)]), None).unwrap();
        assert_eq!(chosen.found.kernel, "(hd0)/vmlinuz", "{path}");
        assert!(
            path.starts_with(chosen.found.menu.trim_start_matches("(hd0)")),
            "{path}"
        );
    }
}

#[test]
fn the_root_comes_first_then_the_boot_partitions_then_all_others() {
    let kernel = kernel();
    let there: &[File<'_>] = &[("/grub/grub.cfg", GRUB_CFG), ("/vmlinuz", &kernel)];
    let root: &[File<'_>] = &[
        ("/etc/fstab", b""),
        ("/boot/grub/grub.cfg", GRUB_CFG),
        ("/vmlinuz", &kernel),
    ];
    let esp = fat("FAT32", &[("/loader/entries/a.conf", BLS), ("/vmlinuz", &kernel)]);
    let all = [
        Partition::ext(LINUX, there),
        Partition::new(EFI_SYSTEM, esp),
        Partition::ext(EXTENDED_BOOT, there),
        Partition::ext(LINUX, root),
    ];
    let wanted = [
        "(hd0,3)/boot/grub/grub.cfg",
        "(hd0,2)/grub/grub.cfg",
        "(hd0,1)/loader/entries",
        "(hd0,0)/grub/grub.cfg",
    ];
    // The last one that is left of them counts.
    for (nth, wanted) in wanted.into_iter().enumerate() {
        let mut left = all.to_vec();
        for taken in [3, 2, 1].into_iter().take(nth) {
            left[taken].clear();
        }
        assert_eq!(menu_of(choose(&gpt(&left), None).unwrap()), wanted);
    }
}

#[test]
fn menus_of_every_kind_are_found_on_xfs() {
    let kernel = kernel();
    let uuid = format!("uuid={ROOT_UUID}");
    let boots = |files: &[File<'_>], options: &[&str]| {
        let whole = xfs(files, &[&["-m", &uuid], options].concat());
        let chosen = choose(&disk(&whole), None).unwrap();
        assert!(chosen.kernel == kernel && chosen.initrd == b"cpio", "{options:?}");
        assert_eq!(chosen.cmdline, format!("root=UUID={ROOT_UUID} ro console=hvc0"));
        // The same in a partition whose content alone tells that it is the root.
        let parted = gpt(&[Partition::new(LINUX, whole)]);
        assert_eq!(choose(&parted, None).unwrap().kernel.len(), kernel.len());
        chosen.found
    };
    let script = format!("search --fs-uuid --set=root {ROOT_UUID}\nload_env\nblscfg\n");
    let entry = format!(
        "title b\nlinux /boot/vmlinuz-6\ninitrd /boot/initrd\noptions root=UUID={ROOT_UUID} ro console=hvc0\n"
    );
    let menu = format!(
        "menuentry a {{ linux /vmlinuz root=UUID={ROOT_UUID} ro console=hvc0; initrd /boot/initrd }}\n"
    );
    let files: &[File<'_>] = &[
        ("/boot/initrd", b"cpio"),
        ("/boot/vmlinuz-6", &kernel),
        ("/etc/fstab", b""),
        ("/vmlinuz", b"->boot/vmlinuz-6"),
    ];
    for options in [&["-m", "crc=0", "-n", "ftype=0"][..], &["-b", "size=1024"], &[]] {
        let found = boots(
            &[files, &[("/boot/grub2/grub.cfg", menu.as_bytes())]].concat(),
            options,
        );
        assert_eq!(found.menu, "(hd0)/boot/grub2/grub.cfg");
        assert_eq!(found.notes, [""; 0]);
        let bls: &[File<'_>] = &[
            ("/boot/grub2/grub.cfg", script.as_bytes()),
            ("/boot/loader/entries/b.conf", entry.as_bytes()),
        ];
        let found = boots(&[files, bls].concat(), options);
        assert_eq!(
            (found.entry.as_str(), found.kernel.as_str()),
            ("b", "(hd0)/boot/vmlinuz-6")
        );
    }
}

/// Where distributions have the root of a system on Btrfs: its subvolume, whether it is the default one, and what paths
/// of its menu begin with.
const SUBVOLUMES: &[(&str, bool, &str)] = &[
    ("", false, ""),
    ("/@", false, "/@"),
    ("/root", false, "/root"),
    ("/@rootfs", false, "/@rootfs"),
    ("/@/.snapshots/1/snapshot", true, ""),
];

#[test]
fn menus_of_every_kind_are_found_on_btrfs_at_its_top_and_in_the_subvolume_of_the_system() {
    let kernel = kernel();
    for (subvolume, is_default, prefix) in SUBVOLUMES {
        let arguments = format!("root=UUID={ROOT_UUID} ro rootflags=subvol={subvolume} console=hvc0");
        let boots = |files: &[File<'_>]| {
            let mut writer = btrfs(
                subvolume,
                &[files, &[("/boot/initrd", b"cpio"), ("/etc/fstab", b"")]].concat(),
            );
            let system = writer.trees.keys().copied().max().unwrap_or(TOP);
            let len = kernel.len();
            // As Fedora keeps its files.
            let packed = crate::boot::payload::tests::fixtures::packed(&["zstd", "-q"], &kernel);
            let piece = Piece::Extent(3, len, packed, 0, len.next_multiple_of(SECTOR));
            writer.put_pieces(system, "/boot/vmlinuz-6", len as u64, &[(0, piece)]);
            writer.put(system, "/vmlinuz", b"->boot/vmlinuz-6");
            if *is_default {
                writer.set_default(system);
            }
            let whole = writer.bytes();
            let chosen = choose(&disk(&whole), None).unwrap();
            assert!(chosen.kernel == kernel && chosen.initrd == b"cpio", "{subvolume}");
            assert_eq!(chosen.cmdline, arguments);
            assert_eq!(chosen.found.notes, [""; 0]);
            // The same in a partition whose content alone tells that it is the root, behind one with another menu.
            let other: &[File<'_>] = &[("/grub/grub.cfg", GRUB_CFG), ("/vmlinuz", b"")];
            let parted = gpt(&[Partition::ext(LINUX, other), Partition::new(LINUX, whole)]);
            assert_eq!(
                choose(&parted, None).unwrap().found.partition,
                Some(1),
                "{subvolume}"
            );
            chosen.found
        };
        let search = format!("search --fs-uuid --set=root {ROOT_UUID}\n");
        let menu = format!(
            "{search}menuentry a {{ linux {prefix}/boot/vmlinuz-6 {arguments}; initrd {prefix}/boot/initrd }}\n"
        );
        let found = boots(&[("/boot/grub/grub.cfg", menu.as_bytes())]);
        assert_eq!(found.menu, "(hd0)/boot/grub/grub.cfg");
        assert_eq!(found.kernel, format!("(hd0){prefix}/boot/vmlinuz-6"));
        let script = format!("{search}load_env\nblscfg\n");
        let entry = format!(
            "title b\nlinux {prefix}/boot/vmlinuz-6\ninitrd {prefix}/boot/initrd\noptions {arguments}\n"
        );
        let entry = ("/boot/loader/entries/b.conf", entry.as_bytes());
        let found = boots(&[("/boot/grub2/grub.cfg", script.as_bytes()), entry]);
        assert_eq!(found.entry, "b");
        assert_eq!(boots(&[entry]).menu, "(hd0)/boot/loader/entries");
        let menu = format!("title c\nkernel /vmlinuz {arguments}\ninitrd /boot/initrd\n");
        assert_eq!(
            boots(&[("/boot/grub/menu.lst", menu.as_bytes())]).kernel,
            "(hd0)/vmlinuz"
        );
    }
}

#[test]
fn a_btrfs_that_cannot_be_read_is_named_with_the_reason() {
    let mut writer = btrfs("/@", &[("/boot/grub/grub.cfg", GRUB_CFG)]);
    writer.features |= 1 << 12;
    let error = choose(&disk(&writer.bytes()), None).unwrap_err().to_string();
    assert!(
        error.ends_with("(hd0) (the Btrfs file system cannot be read: it has zones, which cannot be read)"),
        "{error}"
    );
}

#[test]
fn an_efi_system_partition_and_an_extended_boot_partition_are_one_menu() {
    let kernel = kernel();
    let unified = image(&[
        (".osrel", b"ID=debian\nPRETTY_NAME=Unified\n"),
        (".uname", b"6.12\0"),
        (".cmdline", b"root=UUID=1 console=hvc0"),
        (".initrd", b"cpio"),
        (".linux", &kernel),
    ]);
    let esp = fat(
        "FAT16",
        &[
            ("/EFI/Linux/debian-6.12.efi", &unified),
            ("/loader/loader.conf", b"default debian-*\n"),
        ],
    );
    let boot: &[File<'_>] = &[("/loader/entries/other-7.conf", BLS), ("/vmlinuz", &kernel)];
    let disk = gpt(&[
        Partition::new(EFI_SYSTEM, esp),
        Partition::ext(EXTENDED_BOOT, boot),
    ]);
    let chosen = choose(&disk, None).unwrap();
    assert!(chosen.kernel == kernel);
    assert_eq!(
        (chosen.initrd.as_slice(), chosen.cmdline.as_str()),
        (&b"cpio"[..], "root=UUID=1 console=hvc0")
    );
    assert_eq!(chosen.found.entry, "Unified");
    assert_eq!(chosen.found.kernel, "(hd0,0)/EFI/Linux/debian-6.12.efi");
    assert_eq!(chosen.found.initrd, ["(hd0,0)/EFI/Linux/debian-6.12.efi#.initrd"]);
    assert_eq!(chosen.found.reason, "entry 0 is loader.conf's default, debian-*");
}

#[test]
fn a_loader_entry_whose_kernel_is_gone_is_left_out_unless_all_are() {
    let kernel = kernel();
    let files: &[File<'_>] = &[
        (
            "/loader/entries/arch-lts.conf",
            b"version 7\nlinux /vmlinuz-lts\n",
        ),
        ("/loader/entries/arch.conf", b"version 6\nlinux /vmlinuz\n"),
        ("/loader/loader.conf", b"default arch-lts.conf\n"),
        ("/vmlinuz", &kernel),
    ];
    let found = choose(&unpartitioned(files), None).unwrap().found;
    assert_eq!(found.kernel, "(hd0)/vmlinuz");
    assert_eq!(
        found.notes,
        ["the entry arch-lts of (hd0) is left out: there is no /vmlinuz-lts"]
    );
    let error = choose(&unpartitioned(files.split_at(3).0), None).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("its kernel cannot be read from (hd0): there is no /vmlinuz-lts"),
        "{error}"
    );
}

#[test]
fn a_bls_entry_may_name_a_unified_image_and_give_it_another_command_line() {
    let kernel = kernel();
    let unified = image(&[(".cmdline", b"own"), (".linux", &kernel), (".initrd", b"12345")]);
    let files: &[File<'_>] = &[
        (
            "/loader/entries/a.conf",
            b"efi /u.efi\ninitrd /more\noptions given console=hvc0\n",
        ),
        ("/u.efi", &unified),
        ("/more", b"67"),
    ];
    let chosen = choose(&unpartitioned(files), None).unwrap();
    assert_eq!(chosen.cmdline, "given console=hvc0");
    assert_eq!(chosen.initrd, b"12345\0\0\x0067");
    assert_eq!(chosen.found.initrd, ["(hd0)/u.efi#.initrd", "(hd0)/more"]);
    let shell = image(&[(".text", b"code")]);
    let files = &[files[0], ("/u.efi", &shell)];
    let error = choose(&unpartitioned(files), None).unwrap_err().to_string();
    assert!(
        error.ends_with("its kernel (hd0)/u.efi is no kernel, but a program for EFI or DOS"),
        "{error}"
    );
}

#[test]
fn partitions_are_called_as_grub_2_calls_them() {
    let kernel = kernel();
    let files: &[File<'_>] = &[
        ("/grub/grub.cfg", b"menuentry $root { linux /vmlinuz }\n"),
        ("/vmlinuz", &kernel),
    ];
    for (disk, wanted) in [
        (unpartitioned(files), "hd0"),
        (partitioned(&[&[], files]), "hd0,msdos2"),
        (gpt(&[Partition::ext(LINUX, files)]), "hd0,gpt1"),
    ] {
        assert_eq!(choose(&disk, None).unwrap().found.entry, wanted);
    }
}

#[test]
fn a_menu_whose_entries_boot_no_linux_is_passed_over_for_one_whose_do() {
    let kernel = kernel();
    let files: &[File<'_>] = &[
        ("/boot/grub/menu.lst", b"title Windows\nchainloader +1\n"),
        ("/boot/grub/grub.cfg", GRUB_CFG),
        ("/vmlinuz", &kernel),
    ];
    assert_eq!(
        menu_of(choose(&unpartitioned(files), None).unwrap()),
        "(hd0)/boot/grub/grub.cfg"
    );
}

#[test]
fn a_boot_partition_s_menu_finds_its_kernel_by_uuid_label_or_file() {
    let kernel = kernel();
    let root: &[File<'_>] = &[("/boot/vmlinuz", &kernel), ("/boot/mark", b"")];
    let menu = |search: &str| format!("menuentry a {{ {search}; linux /boot/vmlinuz root=/dev/sda2 }}\n");
    for search in [
        format!("search --fs-uuid --set=root {ROOT_UUID}"),
        "search --label --set=root the-root".to_owned(),
        "search --no-floppy --set root --label the-root".to_owned(),
        format!("search --fs-uuid --set {ROOT_UUID}"),
        "search --file --set=root /boot/mark".to_owned(),
        "set root=hd0,gpt2".to_owned(),
        "root=hd0,2".to_owned(),
    ] {
        let menu = menu(&search);
        let boot: &[File<'_>] = &[("/grub/grub.cfg", menu.as_bytes())];
        let disk = gpt(&[
            Partition::ext(EXTENDED_BOOT, boot),
            Partition::ext_with(LINUX, root, &["-U", ROOT_UUID, "-L", "the-root"]),
        ]);
        let chosen = choose(&disk, None).unwrap();
        assert_eq!(chosen.found.kernel, "(hd0,1)/boot/vmlinuz", "{search}");
    }
    let boot: &[File<'_>] = &[("/grub/menu.lst", b"title a\nkernel (hd0,1)/boot/vmlinuz\n")];
    let chosen = choose(&partitioned(&[boot, root]), None).unwrap();
    assert_eq!(chosen.found.kernel, "(hd0,1)/boot/vmlinuz");
}
