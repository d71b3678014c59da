//! What a disk would boot, without booting it: for imports and registrations, which warn.

use std::sync::Arc;

use kiln_imagefmt::probe::{PartitionTable, TableKind, Window};
use kiln_imagefmt::{Disk, probe};

use super::choose::choose_on;
use super::volumes::Volumes;
use super::{BootError, Chosen, Found};
use crate::boot::kernel::LoadError;
use crate::boot::payload::{self, BzImage, KernelKind, NO_64_BIT_ENTRY, PayloadError, Unpacked};

/// What was seen on a disk.
#[derive(Debug)]
pub struct Report {
    /// Which partition table it has.
    pub table: TableKind,
    /// Its partitions, or the whole of it.
    pub volumes: Vec<VolumeReport>,
    /// What the PV path would boot, or why it would not.
    pub boot: Result<Found, BootError>,
    /// The processor that its kernel is for, where one was found.
    pub architecture: Option<Architecture>,
    /// By which ways it looks bootable.
    pub modes: BootModes,
    /// What its owner should know, a sentence each. None of it is a reason to refuse the disk.
    pub warnings: Vec<String>,
}

/// A partition, or the whole of an unpartitioned disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeReport {
    /// GRUB's name: `(hd0)`, `(hd0,0)`.
    pub device: String,
    /// The file system's name.
    pub file_system: String,
    /// Its UUID, where it is known.
    pub uuid: Option<String>,
    /// Its label, if it has one.
    pub label: Option<String>,
}

/// The processor that a kernel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    I386,
}

impl Architecture {
    /// EC2's name.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64",
            Architecture::I386 => "i386",
        }
    }
}

/// The ways by which a disk looks bootable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootModes {
    /// A menu with a kernel: the PV path.
    pub pv: bool,
    /// Code in the first sector.
    pub bios: bool,
    /// An EFI system partition.
    pub uefi: bool,
}

/// A disk, looked at.
pub(in crate::boot) struct Examined {
    pub(in crate::boot) table: PartitionTable,
    pub(in crate::boot) volumes: Volumes,
    pub(in crate::boot) modes: BootModes,
    /// What its menu boots.
    pub(in crate::boot) chosen: Result<Chosen, BootError>,
}

impl Examined {
    /// Only a disk that cannot be read at all is an error.
    pub(in crate::boot) fn open(disk: &Arc<dyn Disk>) -> Result<Examined, BootError> {
        let table = PartitionTable::read(disk).map_err(BootError::Disk)?;
        let volumes = Volumes::open(disk)?;
        let chosen = choose_on(&volumes, None);
        let modes = BootModes {
            pv: chosen.is_ok(),
            bios: has_boot_code(disk).map_err(BootError::Disk)?,
            uefi: table.partitions.iter().any(probe::Partition::is_efi_system),
        };
        Ok(Examined {
            table,
            volumes,
            modes,
            chosen,
        })
    }
}

/// Looks at `disk`. Only a disk that cannot be read at all is an error.
pub fn inspect(disk: &Arc<dyn Disk>) -> Result<Report, BootError> {
    let Examined {
        table,
        volumes,
        modes,
        chosen,
    } = Examined::open(disk)?;
    let mut warnings = Vec::new();
    let mut architecture = None;
    match &chosen {
        Ok(chosen) => {
            architecture = architecture_of(&chosen.kernel, &mut warnings);
            if let Some(architecture) = architecture {
                warn_of_kernel(&chosen.kernel, architecture, &chosen.cmdline, &mut warnings);
            }
            warnings.extend(chosen.found.notes.iter().cloned());
        }
        Err(error) if modes.bios || modes.uefi => warnings.push(format!("by the PV path: {error}")),
        Err(error) => warnings.push(format!("it will not boot: {error}")),
    }
    let volumes = volumes.list.iter().map(|volume| match &volume.file_system {
        Ok(found) => VolumeReport {
            device: volume.device().to_string(),
            file_system: found.kind.to_string(),
            uuid: found.uuid.clone(),
            label: found.label.clone(),
        },
        Err(error) => VolumeReport {
            device: volume.device().to_string(),
            file_system: error.to_string(),
            uuid: None,
            label: None,
        },
    });
    Ok(Report {
        table: table.kind,
        volumes: volumes.collect(),
        boot: chosen.map(|chosen| chosen.found),
        architecture,
        modes,
        warnings,
    })
}

/// The processor that a kernel is for. Unpacking it shows damage, too, before it is launched.
fn architecture_of(kernel: &[u8], warnings: &mut Vec<String>) -> Option<Architecture> {
    let mut no = |error: PayloadError| {
        warnings.push(format!("its kernel will not boot: {error}"));
        None
    };
    match payload::unpack(kernel) {
        Ok(Unpacked::Vmlinux(file)) => {
            let architecture = match KernelKind::of(file.head()) {
                KernelKind::Elf64 => Some(Architecture::X86_64),
                KernelKind::Elf32 => Some(Architecture::I386),
                _ => None,
            };
            match file.pieces(0, |_, _| Ok::<_, PayloadError>(())) {
                Ok(_) => architecture,
                Err(error) => no(error),
            }
        }
        Ok(Unpacked::AsIs { .. }) => {
            let image = payload::BzImage::parse(kernel).ok()?;
            Some(if image.has_64_bit_entry() {
                Architecture::X86_64
            } else {
                Architecture::I386
            })
        }
        Err(error) => no(error),
    }
}

/// Warns of a kernel that is whole, but that no launch would load.
fn warn_of_kernel(kernel: &[u8], architecture: Architecture, cmdline: &str, warnings: &mut Vec<String>) {
    let image = BzImage::parse(kernel).ok();
    // Kernels that old have no PVH note either.
    let old = image.as_ref().is_some_and(BzImage::is_before_64_bit_entry);
    if old || architecture == Architecture::I386 {
        warnings.push(format!("its kernel will not boot: {NO_64_BIT_ENTRY}"));
    }
    let limit = image.map_or(usize::MAX, |image| image.cmdline_limit() as usize);
    if cmdline.len() > limit {
        let len = cmdline.len();
        warnings.push(format!(
            "its kernel will not boot: {}",
            LoadError::CommandLine { len, limit }
        ));
    }
}

/// Whether the first sector has code before the partition table. That of a disk that only carries
/// a file system, or only partitions, is zero.
fn has_boot_code(disk: &Arc<dyn Disk>) -> Result<bool, probe::ProbeError> {
    let sector = Window::whole(Arc::clone(disk)).read_up_to(0, 512)?;
    let code = sector.get(..440).unwrap_or_default();
    let signed = sector.get(510..) == Some(&[0x55, 0xAA]);
    Ok(signed && code.iter().any(|byte| *byte != 0))
}
