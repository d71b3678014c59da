//! What a disk would boot, without booting it: for imports and registrations, which warn.

use std::sync::Arc;

use kiln_imagefmt::probe::{PartitionTable, TableKind, Window};
use kiln_imagefmt::{Disk, probe};

use super::choose::choose_on;
use super::volumes::Volumes;
use super::{BootError, Chosen, Found};
use crate::boot::kernel::LoadError;
use crate::boot::operating_system::OperatingSystem;
use crate::boot::payload::{self, BzImage, KernelKind, OF_32_BITS, PayloadError, Unpacked};

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
    /// What is installed on it, as far as that is known.
    pub system: Option<OperatingSystem>,
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
    /// Its first sector, with what a BIOS runs.
    pub(in crate::boot) first_sector: Vec<u8>,
    /// What its menu boots.
    pub(in crate::boot) chosen: Result<Chosen, BootError>,
    /// The kernel of that.
    pub(in crate::boot) kernel: Option<Kernel>,
}

/// A kernel, looked at.
pub(in crate::boot) struct Kernel {
    architecture: Option<Architecture>,
    /// Why it cannot be unpacked.
    pub(in crate::boot) damage: Option<PayloadError>,
    /// Why it would not be entered directly, though it is whole.
    pub(in crate::boot) refusals: Vec<String>,
}

impl Examined {
    /// Only a disk that cannot be read at all is an error.
    pub(in crate::boot) fn open(disk: &Arc<dyn Disk>) -> Result<Examined, BootError> {
        let table = PartitionTable::read(disk).map_err(BootError::Disk)?;
        let volumes = Volumes::open(disk)?;
        let chosen = choose_on(&volumes, None);
        let kernel = chosen.as_ref().ok().map(Kernel::of);
        let first_sector = Window::whole(Arc::clone(disk))
            .read_up_to(0, 512)
            .map_err(BootError::Disk)?;
        let modes = BootModes {
            pv: chosen.is_ok(),
            bios: has_boot_code(&first_sector),
            uefi: table.partitions.iter().any(probe::Partition::is_efi_system),
        };
        Ok(Examined {
            table,
            first_sector,
            volumes,
            modes,
            chosen,
            kernel,
        })
    }
}

impl Kernel {
    /// Unpacking it shows damage, too, before it is launched.
    fn of(chosen: &Chosen) -> Kernel {
        let image = BzImage::parse(&chosen.kernel).ok();
        let looked_at = match payload::unpack(&chosen.kernel) {
            Ok(Unpacked::Vmlinux(file)) => {
                let architecture = match KernelKind::of(file.head()) {
                    KernelKind::Elf64 => Some(Architecture::X86_64),
                    KernelKind::Elf32 => Some(Architecture::I386),
                    _ => None,
                };
                let whole = file.pieces(0, |_, _| Ok::<_, PayloadError>(()));
                whole.map(|_| architecture)
            }
            Ok(Unpacked::AsIs { .. }) => Ok(image.as_ref().map(|image| {
                if image.has_64_bit_entry() {
                    Architecture::X86_64
                } else {
                    Architecture::I386
                }
            })),
            Err(error) => Err(error),
        };
        let (architecture, damage) = match looked_at {
            Ok(architecture) => (architecture, None),
            Err(error) => (None, Some(error)),
        };
        let mut refusals = Vec::new();
        if architecture == Some(Architecture::I386) && image.is_none() {
            refusals.push(OF_32_BITS.to_owned());
        }
        let len = chosen.cmdline.len();
        let limit = image.map_or(usize::MAX, |image| image.cmdline_limit() as usize);
        if architecture.is_some() && len > limit {
            refusals.push(LoadError::CommandLine { len, limit }.to_string());
        }
        Kernel {
            architecture,
            damage,
            refusals,
        }
    }
}

/// Looks at `disk`. Only a disk that cannot be read at all is an error.
pub fn inspect(disk: &Arc<dyn Disk>) -> Result<Report, BootError> {
    Ok(Report::of(Examined::open(disk)?))
}

impl Report {
    pub(in crate::boot) fn of(disk: Examined) -> Report {
        let system = OperatingSystem::of(&disk);
        let Examined {
            table,
            volumes,
            modes,
            chosen,
            kernel,
            first_sector: _,
        } = disk;
        let mut warnings = Vec::new();
        if let Some(kernel) = &kernel {
            let faults = kernel.damage.iter().map(ToString::to_string);
            let faults = faults.chain(kernel.refusals.iter().cloned());
            warnings.extend(faults.map(|why| format!("its kernel will not boot: {why}")));
        }
        match &chosen {
            Ok(chosen) => warnings.extend(chosen.found.notes.iter().cloned()),
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
        Report {
            table: table.kind,
            volumes: volumes.collect(),
            boot: chosen.map(|chosen| chosen.found),
            architecture: kernel.and_then(|kernel| kernel.architecture),
            modes,
            system,
            warnings,
        }
    }
}

/// What the code that mkfs.fat writes into each file system says, and DOS' own, in place of booting.
const CODE_THAT_ONLY_REFUSES: [&[u8]; 2] = [b"This is not a bootable disk", b"Non-System disk"];

/// Whether the first sector has code before the partition table. That of a disk that only carries
/// a file system, or only partitions, is zero, or says no more than that it does not boot.
fn has_boot_code(sector: &[u8]) -> bool {
    let code = sector.get(..440).unwrap_or_default();
    let signed = sector.get(510..) == Some(&[0x55, 0xAA]);
    let says = |text: &&[u8]| sector.windows(text.len()).any(|bytes| bytes == *text);
    let refuses = CODE_THAT_ONLY_REFUSES.iter().any(says);
    signed && !refuses && code.iter().any(|byte| *byte != 0)
}
