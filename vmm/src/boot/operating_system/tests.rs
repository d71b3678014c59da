//! Disks of each system, made by e2fsprogs, and partitions with nothing but a mark.

use super::super::pvgrub::inspect;
use super::super::pvgrub::tests::fixtures::{
    File, Partition, btrfs, disk, gpt, partitioned, partitioned_bytes, unpartitioned,
};
use super::*;

const APFS: &str = "7C3457EF-0000-11AA-AA11-00306543ECAC";
const HFS_PLUS: &str = "48465300-0000-11AA-AA11-00306543ECAC";
const BASIC_DATA: &str = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7";
const EFI_SYSTEM: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
const RESERVED: &str = "E3C9E316-0B5C-4DB8-817D-F92DF00215AE";

const DEBIAN: &[File<'_>] = &[(
    "/usr/lib/os-release",
    b"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n",
)];

/// A partition with these bytes at an offset, and nothing else.
fn marked(kind: &str, offset: usize, mark: &[u8]) -> Partition {
    let mut content = vec![0; 1 << 20];
    content[offset..offset + mark.len()].copy_from_slice(mark);
    Partition::new(kind, content)
}

fn ntfs(kind: &str) -> Partition {
    marked(kind, 0, b"\xeb\x52\x90NTFS    ")
}

fn empty(kind: &str) -> Partition {
    marked(kind, 0, b"")
}

fn system(disk: &Arc<dyn Disk>) -> Option<OperatingSystem> {
    inspect(disk).unwrap().system
}

fn debian() -> Option<OperatingSystem> {
    Some(OperatingSystem::Unix {
        name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        id: Some("debian".to_owned()),
        version_id: Some("12".to_owned()),
    })
}

#[test]
fn a_system_on_btrfs_is_what_the_os_release_in_its_subvolume_says() {
    for subvolume in ["", "/@", "/root", "/@rootfs"] {
        assert_eq!(
            system(&disk(&btrfs(subvolume, DEBIAN).bytes())),
            debian(),
            "{subvolume}"
        );
    }
    // A snapshot that is not the default one is no system.
    assert_eq!(system(&disk(&btrfs("/before", DEBIAN).bytes())), None);
    let apple = Partition::new(APFS, vec![0; 1 << 20]);
    let beside = [apple, Partition::new(LINUX, btrfs("/@", DEBIAN).bytes())];
    assert_eq!(macos(&gpt(&beside)).unwrap(), None);
}

#[test]
fn a_system_is_what_its_os_release_says() {
    assert_eq!(system(&unpartitioned(DEBIAN)), debian());
    let boot: &[File<'_>] = &[("/grub/grub.cfg", b"")];
    assert_eq!(system(&partitioned(&[boot, DEBIAN])), debian());
    let own: &[File<'_>] = &[("/etc/os-release", b"ID=own\n"), DEBIAN[0]];
    let unnamed = OperatingSystem::Unix {
        name: "Linux".to_owned(),
        id: Some("own".to_owned()),
        version_id: None,
    };
    assert_eq!(system(&unpartitioned(own)), Some(unnamed));
    assert_eq!(system(&unpartitioned(&[("/etc/fstab", b"")])), None);
}

#[test]
fn windows_is_told_by_its_partitions_and_the_mark_of_ntfs() {
    let windows = Some(OperatingSystem::Windows);
    let by_uefi = [empty(EFI_SYSTEM), empty(RESERVED), ntfs(BASIC_DATA)];
    assert_eq!(system(&gpt(&by_uefi)), windows);
    let with_data = [empty(EFI_SYSTEM), empty(LINUX), ntfs(BASIC_DATA)];
    assert_eq!(system(&gpt(&with_data)), None, "what the data is of is not known");
    let formatted_otherwise = [empty(RESERVED), empty(BASIC_DATA)];
    assert_eq!(system(&gpt(&formatted_otherwise)), None);
    let beside = [empty(RESERVED), ntfs(BASIC_DATA), Partition::ext(LINUX, DEBIAN)];
    assert_eq!(system(&gpt(&beside)), debian(), "Linux beside Windows");

    let mut by_a_bios = partitioned_bytes(&[&[]]);
    by_a_bios[450] = 0x07;
    by_a_bios[1 << 20..][..2048].fill(0);
    by_a_bios[1 << 20..][..11].copy_from_slice(b"\xeb\x52\x90NTFS    ");
    assert_eq!(system(&disk(&by_a_bios)), None, "not the one to boot");
    by_a_bios[446] = 0x80;
    assert_eq!(system(&disk(&by_a_bios)), windows);
}

#[test]
fn macos_is_told_by_the_types_of_its_partitions_and_by_the_marks_of_its_file_systems() {
    let found = |disk: &Arc<dyn Disk>| macos(disk).unwrap();
    let current = [empty(EFI_SYSTEM), marked(APFS, 32, b"NXSB")];
    assert_eq!(found(&gpt(&current)).as_deref(), Some("partition 2 (APFS)"));
    let former = [empty(EFI_SYSTEM), empty(HFS_PLUS)];
    assert_eq!(found(&gpt(&former)).as_deref(), Some("partition 2 (HFS+)"));
    let mut with_mbr = partitioned_bytes(&[&[]]);
    with_mbr[450] = 0xAF;
    assert_eq!(
        found(&disk(&with_mbr)).as_deref(),
        Some("partition 1 (HFS+)"),
        "a file system without an os-release does not count"
    );
    for (offset, mark, name) in [
        (32, &b"NXSB"[..], "all of it (APFS)"),
        (1024, b"H+\0\x04", "all of it (HFS+)"),
        (1024, b"HX\0\x05", "all of it (HFSX)"),
        (1024, b"BD", "all of it (HFS)"),
    ] {
        let mut bytes = vec![0; 1 << 20];
        bytes[offset..offset + mark.len()].copy_from_slice(mark);
        assert_eq!(found(&disk(&bytes)).as_deref(), Some(name));
    }
    for other in [
        unpartitioned(DEBIAN),
        partitioned(&[DEBIAN]),
        gpt(&[empty(RESERVED), ntfs(BASIC_DATA)]),
        disk(&[0; 4096]),
    ] {
        assert_eq!(found(&other), None);
    }
}

#[test]
fn a_disk_with_linux_beside_an_apple_file_system_is_none_of_macos() {
    let beside = [
        empty(HFS_PLUS),
        marked(APFS, 32, b"NXSB"),
        Partition::ext(LINUX, DEBIAN),
    ];
    assert_eq!(macos(&gpt(&beside)).unwrap(), None);
    assert_eq!(system(&gpt(&beside)), debian());
}
