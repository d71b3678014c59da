//! Why a disk will not boot, or will boot badly: said before anything is launched.
//!
//! ```text
//!  disk ─► Examined ─► ways         boot code, EFI system partition, menu: a way to boot that is whole
//!          volumes,    menu         the kernel and the root that the menu names, and its console
//!          menu        initramfs    the drivers of a virtual disk
//!                      fstab        the file systems that the system wants
//!                      system       what it asks of the processor; an unclean file system
//! ```
//!
//! Nothing is written, nothing is run. The disk is hostile: it is read as the boot path reads it.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod cpio;
mod fstab;
mod initramfs;
mod menu;
mod system;
mod ways;

use std::sync::Arc;

use kiln_imagefmt::probe::FileTree;
use kiln_imagefmt::{Disk, probe};

use super::os_release::OsRelease;
use super::pvgrub::{BootError, Examined, Report, Volume};

pub use system::CpuLevel;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It boots, but badly.
    Warning,
    /// A way to boot that the disk has, or that was asked for, does not reach the system's programs.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A word for programs, such as `NoBootCode`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, and where.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    fn error(code: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding {
            code,
            severity: Severity::Error,
            message: message.into(),
            fix: fix.into(),
        }
    }

    fn warning(code: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding {
            severity: Severity::Warning,
            ..Finding::error(code, message, fix)
        }
    }
}

/// A way to boot that somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The kernel that the disk's menu names is entered directly.
    Pv,
    /// A BIOS runs the code in the first sector.
    Bios,
    /// UEFI firmware runs a program on the EFI system partition.
    Uefi,
}

impl Examined {
    /// The volume with the system on it, and its files.
    fn root(&self) -> Option<(&Volume, &FileTree)> {
        let mut all = self.volumes.readable();
        all.find(|(_, files)| files.exists("/etc/fstab").unwrap_or(false) || OsRelease::read(files).is_some())
    }

    /// Whether a file system (or another thing with a name) is on the disk: `UUID=…`, `LABEL=…`, `PARTUUID=…`,
    /// `PARTLABEL=…`, or one of these as a path below `/dev/disk`. `None` for names that say nothing of what is there.
    fn has(&self, name: &str) -> Option<bool> {
        let (kind, value) = named(name)?;
        let value = value.trim_matches('"');
        let found = match kind {
            "UUID" => {
                self.volumes.file_systems().any(|found| {
                    let uuid = found.uuid.as_deref();
                    uuid.is_some_and(|uuid| uuid.eq_ignore_ascii_case(value))
                }) || self.may_be_unknown()
            }
            "LABEL" => {
                let mut all = self.volumes.file_systems();
                all.any(|found| found.label.as_deref() == Some(value)) || self.may_be_unknown()
            }
            "PARTUUID" => self.table.partitions.iter().any(|partition| {
                let uuid = partition.uuid.as_deref();
                uuid.is_some_and(|uuid| uuid.eq_ignore_ascii_case(value))
            }),
            "PARTLABEL" => {
                let name = |partition: &probe::Partition| match &partition.kind {
                    probe::PartitionKind::Gpt { name, .. } => name == value,
                    probe::PartitionKind::Mbr { .. } => false,
                };
                self.table.partitions.iter().any(name)
            }
            _ => return None,
        };
        Some(found)
    }

    /// Whether something fills a partition whose names cannot be read here: it may be what is looked for, unless the
    /// table says that it is a boot loader.
    fn may_be_unknown(&self) -> bool {
        let is_loader = |volume: &Volume| {
            let mut all = self.table.partitions.iter();
            all.any(|partition| Some(partition.index) == volume.partition && partition.is_bios_boot())
        };
        let mut all = self.volumes.list.iter().filter(|volume| !is_loader(volume));
        all.any(|volume| {
            volume.file_system.as_ref().is_ok_and(|found| {
                found.uuid.is_none()
                    && matches!(
                        found.kind,
                        probe::FileSystemKind::Other(_) | probe::FileSystemKind::Unknown
                    )
            })
        })
    }
}

/// Takes `UUID=x`, or `/dev/disk/by-uuid/x`, apart.
fn named(text: &str) -> Option<(&str, &str)> {
    if let Some(path) = text.strip_prefix("/dev/disk/by-") {
        let (kind, value) = path.split_once('/')?;
        let kind = match kind {
            "uuid" => "UUID",
            "label" => "LABEL",
            "partuuid" => "PARTUUID",
            "partlabel" => "PARTLABEL",
            _ => return None,
        };
        return Some((kind, value));
    }
    text.split_once('=')
}

/// Looks at a disk that is to boot as it can, or by `way`, on a processor of `level`: what is to be said of it, and what
/// it would boot. Only a disk that cannot be read at all is an error.
pub fn examine(
    disk: &Arc<dyn Disk>,
    way: Option<Way>,
    level: CpuLevel,
) -> Result<(Vec<Finding>, Report), BootError> {
    let examined = Examined::open(disk)?;
    let mut findings = ways::examine(&examined, way);
    findings.extend(menu::examine(&examined, way));
    findings.extend(initramfs::examine(&examined));
    findings.extend(fstab::examine(&examined));
    findings.extend(system::examine(&examined, level));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok((findings, Report::of(examined)))
}

#[cfg(test)]
mod tests;
