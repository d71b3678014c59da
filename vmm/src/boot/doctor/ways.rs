//! By which ways a disk claims to boot, and whether these are whole.

use kiln_imagefmt::probe::{FileSystemKind, FileTree, ProbeError};

use super::super::pvgrub::{BootError, Role};
use super::{Examined, Finding, Way};

/// What UEFI firmware runs from a disk that it has never seen (UEFI specification, section 3.5.1.1).
const FALLBACK: &str = "/EFI/BOOT/BOOTX64.EFI";
/// Where distributions put GRUB for UEFI firmware.
const OF_LOADERS: [&str; 6] = [
    "/EFI/BOOT",
    "/EFI/debian",
    "/EFI/ubuntu",
    "/EFI/fedora",
    "/EFI/centos",
    "/EFI/rocky",
];

/// What puts a loader there.
const INSTALL: &str = "grub-install --target=x86_64-efi --removable";

pub(super) fn examine(disk: &Examined, way: Option<Way>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let has_bios_partition = disk
        .table
        .partitions
        .iter()
        .any(|partition| partition.is_bios_boot());
    let is_for_firmware = disk.modes.bios || disk.modes.uefi || has_bios_partition;
    if !is_for_firmware && !disk.modes.pv && matches!(way, None | Some(Way::Pv)) {
        let why = disk
            .chosen
            .as_ref()
            .err()
            .map_or_else(String::new, |error| format!(": {error}"));
        findings.push(Finding::error(
            "NothingToBoot",
            format!("no boot code, no EFI system partition, and no menu that can be used{why}"),
            if is_damaged(disk) {
                "the disk is damaged or was not copied whole: compare its size and digest with the one that it is of"
            } else if disk.root().is_none() && disk.volumes.list.iter().all(|volume| volume.files.is_ok()) {
                "there is no system on it either: install one, with a boot loader, or take the disk that has it"
            } else {
                "install a boot loader (grub-install) and its menu (update-grub) in the system that the disk is of"
            },
        ));
        return findings;
    }
    findings.extend(cut_off(disk));
    findings.extend(first_table(disk, way));
    findings.extend(no_system(disk));
    if !disk.modes.bios && (has_bios_partition || way == Some(Way::Bios)) {
        findings.push(Finding::error(
            "NoBootCode",
            "the first sector has no boot code: a BIOS finds nothing to run",
            format!(
                "install it (grub-install --target=i386-pc DISK){}",
                or_launch(disk, Way::Bios)
            ),
        ));
    }
    if disk.modes.uefi || way == Some(Way::Uefi) {
        findings.extend(efi(disk));
    }
    if let Err(error) = &disk.chosen
        && !matches!(error, BootError::NoEntryBoots { .. })
    {
        let message = format!("no menu can be used: {error}");
        let write = "write one (update-grub in the system that the disk is of)";
        if way == Some(Way::Pv) {
            findings.push(Finding::error(
                "NoMenu",
                message,
                format!("{write}{}", or_launch(disk, Way::Pv)),
            ));
        } else if disk.root().is_some() {
            let message = format!("{message}; a boot loader such as GRUB stops at its prompt without one");
            findings.push(match error {
                BootError::NoMenu { .. } if has_grub(disk) => Finding::error("NoMenu", message, write),
                // There are boot loaders that read what is not understood here.
                _ => Finding::warning("NoMenu", message, write),
            });
        }
    }
    findings
}

/// A disk that ends before its partitions do.
fn cut_off(disk: &Examined) -> Option<Finding> {
    let mut all = disk.volumes.list.iter();
    let beyond = all.find_map(|volume| match (&volume.window, &volume.files) {
        (None, Err(error @ ProbeError::BeyondEnd { .. })) => Some(error),
        _ => None,
    })?;
    Some(Finding::error(
        "DiskCutOff",
        format!("the disk is shorter than its partition table says: {beyond}"),
        "it was not copied whole: compare its size and digest with the one that it is of",
    ))
}

/// Whether GRUB is what a BIOS, or UEFI firmware, would run: its first sector names it, and so do its programs.
fn has_grub(disk: &Examined) -> bool {
    let code = disk.first_sector.get(..440).unwrap_or(&disk.first_sector);
    if code.windows(4).any(|bytes| bytes == b"GRUB") {
        return true;
    }
    let is_grub = |name: &str| name.to_ascii_lowercase().starts_with("grub");
    disk.volumes.readable().any(|(_, files)| {
        let mut all = OF_LOADERS
            .iter()
            .flat_map(|folder| files.list(folder).unwrap_or_default());
        all.any(|entry| !entry.is_folder && is_grub(&entry.name))
    })
}

/// A GPT of which only the second copy is sound. Boot loaders that a BIOS runs, and Linux, look for the first alone.
fn first_table(disk: &Examined, way: Option<Way>) -> Option<Finding> {
    let damage = disk.table.damage.as_ref()?;
    let message = format!(
        "the first copy of the partition table is damaged ({damage}): only UEFI firmware looks for the second"
    );
    let fix = "write it anew from the second: gdisk DISK, then r, b, w";
    Some(match way {
        Some(Way::Uefi) => Finding::warning("PartitionTableDamaged", message, fix),
        _ => Finding::error("PartitionTableDamaged", message, fix),
    })
}

/// A partition for a file system of Linux that has none, where there is no system on another one.
fn no_system(disk: &Examined) -> Option<Finding> {
    if disk.root().is_some() {
        return None;
    }
    let mut all = disk
        .table
        .partitions
        .iter()
        .filter(|partition| partition.is_linux());
    let empty = all.find_map(|partition| {
        let volume = disk.volumes.partition(partition.index)?;
        let found = volume.file_system.as_ref().ok()?;
        matches!(found.kind, FileSystemKind::Unknown | FileSystemKind::Empty).then_some(volume)
    })?;
    Some(Finding::error(
        "NoSystem",
        format!(
            "{} is for a file system of Linux, and has none that is known: there is no system on the disk",
            empty.device()
        ),
        "it is damaged, or was not copied whole: compare the disk with the one that it is of, or look at it with fsck",
    ))
}

/// The ways that the disk has, as the end of an advice for one that it has not, or that leads nowhere.
fn or_launch(disk: &Examined, but: Way) -> String {
    let modes = disk.modes;
    let ways = [
        (modes.bios, Way::Bios, "bios"),
        (modes.uefi, Way::Uefi, "uefi"),
        (modes.pv, Way::Pv, "fast"),
    ];
    let others = ways.iter().filter(|(has, way, _)| *has && *way != but);
    let others: Vec<&str> = others.map(|(_, _, word)| *word).collect();
    if others.is_empty() {
        return String::new();
    }
    format!(", or launch with --boot {}", others.join(" or "))
}

/// Whether a file system of a kind that is read here cannot be read.
fn is_damaged(disk: &Examined) -> bool {
    let mut all = disk.volumes.list.iter();
    all.any(|volume| {
        matches!(
            volume.files,
            Err(ProbeError::Damaged { .. } | ProbeError::BeyondEnd { .. } | ProbeError::TooMuch { .. })
        )
    })
}

/// The loaders on the EFI system partition.
fn efi(disk: &Examined) -> Option<Finding> {
    let mut partitions = disk
        .volumes
        .list
        .iter()
        .filter(|volume| volume.role == Role::EfiSystem);
    let Some(volume) = partitions.next() else {
        return Some(Finding::error(
            "NoEfiSystemPartition",
            "there is no EFI system partition: UEFI firmware finds nothing to run",
            format!("make a disk with one{}", or_launch(disk, Way::Uefi)),
        ));
    };
    let device = volume.device();
    let files = match &volume.files {
        Ok(files) => files,
        Err(error) => {
            return Some(Finding::error(
                "EfiSystemPartitionUnreadable",
                format!("the EFI system partition {device} cannot be read: {error}"),
                format!(
                    "make it a FAT file system with a boot loader on it (mkfs.vfat, grub-install){}",
                    or_launch(disk, Way::Uefi)
                ),
            ));
        }
    };
    if files.exists(FALLBACK).unwrap_or(false) {
        let why = not_a_program(files)?;
        return Some(Finding::error(
            "EfiLoaderNotAProgram",
            format!("{FALLBACK} on {device} {why}: UEFI firmware finds nothing to run"),
            format!("install it anew ({INSTALL}){}", or_launch(disk, Way::Uefi)),
        ));
    }
    Some(match loader(files) {
        Some(loader) => Finding::error(
            "NoFallbackLoader",
            format!(
                "{device} has the loader {loader}, but no {FALLBACK}: a machine without variables of its own finds none"
            ),
            format!("copy it there ({INSTALL} does){}", or_launch(disk, Way::Uefi)),
        ),
        None => Finding::error(
            "NoEfiLoader",
            format!("the EFI system partition {device} has no loader: UEFI firmware finds nothing to run"),
            format!("install one ({INSTALL}){}", or_launch(disk, Way::Uefi)),
        ),
    })
}

/// Why the loader is no program for this firmware, if so: by its headers (PE/COFF, "MS-DOS Stub" and "COFF File Header").
fn not_a_program(files: &FileTree) -> Option<String> {
    const X86_64: [u8; 2] = 0x8664_u16.to_le_bytes();
    let at = |offset: u64, len| files.read_at(FALLBACK, offset, len).ok();
    let begins = at(0, 64)?;
    let header = begins.get(0x3c..).and_then(<[u8]>::first_chunk);
    let Some(header) = header.filter(|_| begins.starts_with(b"MZ")) else {
        return Some("is no program".to_owned());
    };
    let header = at(u32::from_le_bytes(*header).into(), 6).unwrap_or_default();
    match header.split_at_checked(4) {
        Some((b"PE\0\0", machine)) if *machine == X86_64 => None,
        Some((b"PE\0\0", _)) => Some("is a program for another processor than x86-64".to_owned()),
        _ => Some("is no program".to_owned()),
    }
}

/// A program in one of the folders where loaders are installed.
fn loader(files: &FileTree) -> Option<String> {
    let list = |path: &str| -> Result<_, ProbeError> { files.list(path) };
    for folder in list("/EFI")
        .ok()?
        .into_iter()
        .filter(|entry| entry.is_folder)
        .take(64)
    {
        let path = format!("/EFI/{}", folder.name);
        for entry in list(&path).unwrap_or_default() {
            if !entry.is_folder && entry.name.to_ascii_lowercase().ends_with(".efi") {
                return Some(format!("{path}/{}", entry.name));
            }
        }
    }
    None
}
