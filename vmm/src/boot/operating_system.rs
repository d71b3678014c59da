//! What is installed on a disk: said of it when it is registered.
//!
//! A system whose root file system can be read says itself what it is. Of others only the partitions are looked at.

use std::sync::Arc;

use kiln_imagefmt::Disk;
use kiln_imagefmt::probe::{FileSystem, FileSystemKind, PartitionTable, ProbeError, TableKind, Window};

use super::os_release::OsRelease;
use super::pvgrub::{BootError, Examined, Volumes};

/// Windows' own loader, on the EFI system partition.
const BOOT_MANAGER: &str = "/EFI/Microsoft/Boot/bootmgfw.efi";

/// An operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatingSystem {
    /// One that has an os-release(5): Linux, or another Unix.
    Unix {
        /// Its name and version, for people: `Debian GNU/Linux 12 (bookworm)`.
        name: String,
        /// Its name, for programs: `debian`.
        id: Option<String>,
        /// Its version, for programs: `12`.
        version_id: Option<String>,
    },
    /// Windows, of whichever version.
    Windows,
}

impl OperatingSystem {
    /// What an os-release says. The words are one line each and have no control characters.
    fn of_release(release: &OsRelease) -> OperatingSystem {
        let name = release.value("PRETTY_NAME").or_else(|| release.value("NAME"));
        OperatingSystem::Unix {
            // What os-release(5) says that it is then.
            name: name.unwrap_or_else(|| "Linux".to_owned()),
            id: release.value("ID"),
            version_id: release.value("VERSION_ID"),
        }
    }

    /// What is installed on a disk, as far as that is known. A system with an os-release comes before Windows, beside
    /// which it may be installed.
    pub(in crate::boot) fn of(disk: &Examined) -> Option<OperatingSystem> {
        match disk.volumes.release() {
            Some(release) => Some(OperatingSystem::of_release(&release)),
            None if has_windows(disk) => Some(OperatingSystem::Windows),
            None => None,
        }
    }
}

impl Volumes {
    /// What the system on the disk says of itself: of several the one on the root file system.
    pub(in crate::boot) fn release(&self) -> Option<OsRelease> {
        let volumes = self.in_search_order().into_iter();
        volumes.map(|(_, files)| files).find_map(OsRelease::read)
    }
}

/// Whether Windows boots from the disk: it has an NTFS file system, which on an MBR disk is the active partition, and on a
/// GPT disk stands beside a partition, or a loader, that only Windows makes. Nothing of NTFS is read but its mark.
fn has_windows(disk: &Examined) -> bool {
    let partitions = &disk.table.partitions;
    let mut ntfs = partitions.iter().filter(|partition| {
        let volume = disk.volumes.partition(partition.index);
        let found = volume.and_then(|volume| volume.file_system.as_ref().ok());
        partition.is_microsoft_data()
            && found.is_some_and(|found| found.kind == FileSystemKind::Other("NTFS"))
    });
    match disk.table.kind {
        TableKind::Mbr => ntfs.any(|partition| partition.is_active()),
        TableKind::Gpt => {
            let has_own = partitions.iter().any(|partition| partition.is_windows_own());
            let mut readable = disk.volumes.readable();
            ntfs.next().is_some()
                && (has_own || readable.any(|(_, files)| files.exists(BOOT_MANAGER).unwrap_or(false)))
        }
        TableKind::None => false,
    }
}

/// Says where macOS is on a disk, in words such as `partition 2 (APFS)`, if that is all that is on it.
///
/// The rule: a partition has one of Apple's types (APFS or HFS+ in a GPT, 0xAF in an MBR), or a disk without a table is one
/// of Apple's file systems; and no file system that can be read here has an os-release. A Linux that is installed beside
/// macOS, or that keeps its boot loader on an HFS+ partition, as on some of Apple's computers, so keeps its disk from being
/// one of macOS. What is in Apple's file systems is not read: a disk of nothing but data counts as macOS.
pub fn macos(disk: &Arc<dyn Disk>) -> Result<Option<String>, BootError> {
    let found = apple(disk).map_err(BootError::Disk)?;
    if found.is_none() || Volumes::open(disk)?.release().is_some() {
        return Ok(None);
    }
    Ok(found)
}

/// Where the first of Apple's file systems is.
fn apple(disk: &Arc<dyn Disk>) -> Result<Option<String>, ProbeError> {
    let table = PartitionTable::read(disk)?;
    if table.kind == TableKind::None {
        let whole = FileSystem::detect(&Window::whole(Arc::clone(disk)))?;
        return Ok(match whole.kind {
            FileSystemKind::Other(name @ ("APFS" | "HFS+" | "HFSX" | "HFS")) => {
                Some(format!("all of it ({name})"))
            }
            _ => None,
        });
    }
    let mut partitions = table.partitions.iter();
    Ok(partitions.find_map(|partition| {
        let name = partition.apple_file_system()?;
        Some(format!("partition {} ({name})", partition.number()))
    }))
}

#[cfg(test)]
mod tests;
