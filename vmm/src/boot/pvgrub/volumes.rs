//! The file systems on the root disk, by GRUB's names.

use std::sync::Arc;

use kiln_imagefmt::Disk;
use kiln_imagefmt::probe::{
    FileSystem, FileTree, Journal, Partition, PartitionTable, ProbeError, TableKind, Window,
};

use super::device::Device;
use super::error::{BootError, EntryProblem};

/// What a volume is for. Menus are looked for in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::boot) enum Role {
    /// It is the root file system: by the table, or by what is on it.
    Root,
    /// It is an extended boot loader partition, as UAPI.1 calls a `/boot` of its own.
    ExtendedBoot,
    /// It is an EFI system partition.
    EfiSystem,
    /// Anything else.
    Other,
}

/// One partition, or all of an unpartitioned disk.
pub(in crate::boot) struct Volume {
    /// The partition's index; none for the whole disk.
    pub(in crate::boot) partition: Option<u32>,
    /// What it is for.
    pub(in crate::boot) role: Role,
    /// Its bytes; none where the table leads beyond the end of the disk.
    pub(in crate::boot) window: Option<Window>,
    /// What is on it.
    pub(in crate::boot) file_system: Result<FileSystem, ProbeError>,
    /// Its files, if they can be read.
    pub(in crate::boot) files: Result<FileTree, ProbeError>,
}

impl Volume {
    fn open(partition: Option<&Partition>, window: Result<Window, ProbeError>) -> Volume {
        let index = partition.map(|partition| partition.index);
        let typed = match partition {
            Some(partition) if partition.is_linux_root() => Role::Root,
            Some(partition) if partition.is_extended_boot() => Role::ExtendedBoot,
            Some(partition) if partition.is_efi_system() => Role::EfiSystem,
            _ => Role::Other,
        };
        match window {
            Ok(window) => {
                let files = FileTree::open(&window);
                let has_etc = || files.as_ref().is_ok_and(|files| files.list("/etc").is_ok());
                Volume {
                    partition: index,
                    role: match typed {
                        Role::Other if has_etc() => Role::Root,
                        typed => typed,
                    },
                    file_system: FileSystem::detect(&window),
                    window: Some(window),
                    files,
                }
            }
            // An error is not `Clone`, and only the second one is shown.
            Err(error) => {
                let unknown = FileSystem {
                    kind: kiln_imagefmt::probe::FileSystemKind::Unknown,
                    uuid: None,
                    label: None,
                };
                Volume {
                    partition: index,
                    role: typed,
                    window: None,
                    file_system: Ok(unknown),
                    files: Err(error),
                }
            }
        }
    }

    /// GRUB's name.
    pub(in crate::boot) fn device(&self) -> Device {
        Device::Disk {
            disk: 0,
            partition: self.partition,
        }
    }

    /// `(hd0,0) (ext4)`, or why it cannot be read.
    pub(in crate::boot) fn description(&self) -> String {
        let device = self.device();
        match (&self.files, &self.file_system) {
            (Ok(files), _) => format!("{device} ({})", files.family()),
            (Err(ProbeError::Unsupported { .. }), Ok(found)) => format!("{device} ({})", found.kind),
            (Err(error), _) => format!("{device} ({error})"),
        }
    }

    /// What Linux calls it in a Kiln guest, where the root disk is the first virtio disk.
    pub(in crate::boot) fn guest_device(&self) -> String {
        match self.partition {
            None => "/dev/vda".into(),
            Some(index) => format!("/dev/vda{}", index.saturating_add(1)),
        }
    }

    /// What became of its journal, if that is worth a word.
    pub(in crate::boot) fn journal_note(&self) -> Option<String> {
        match self.files.as_ref().ok()?.journal() {
            Journal::Clean => None,
            Journal::Replayed { transactions, blocks } => Some(format!(
                "{} was not unmounted: {transactions} transactions ({blocks} blocks) of its journal are applied \
                 in memory",
                self.device()
            )),
            Journal::Ignored { reason } => Some(format!(
                "{} was not unmounted, and its journal is not applied: {reason}",
                self.device()
            )),
        }
    }
}

/// All of them.
pub(in crate::boot) struct Volumes {
    pub(in crate::boot) table: TableKind,
    /// Partitions in the order of the table; then the whole disk, if it is a file system.
    pub(in crate::boot) list: Vec<Volume>,
}

impl Volumes {
    /// Looks at the disk: which partitions there are, and what is on them.
    pub(in crate::boot) fn open(disk: &Arc<dyn Disk>) -> Result<Volumes, BootError> {
        let table = PartitionTable::read(disk).map_err(BootError::Disk)?;
        let mut list: Vec<Volume> = table
            .partitions
            .iter()
            .map(|partition| Volume::open(Some(partition), partition.window(disk)))
            .collect();
        let whole = Volume::open(None, Ok(Window::whole(Arc::clone(disk))));
        if table.kind == TableKind::None || whole.files.is_ok() {
            list.push(whole);
        }
        Ok(Volumes {
            table: table.kind,
            list,
        })
    }

    /// An empty disk, for menus that are tried without one.
    #[cfg(any(test, fuzzing))]
    pub(in crate::boot) fn none() -> Volumes {
        Volumes {
            table: TableKind::None,
            list: vec![Volume {
                partition: None,
                role: Role::Other,
                window: None,
                file_system: Err(ProbeError::SectorSize(0)),
                files: Err(ProbeError::SectorSize(0)),
            }],
        }
    }

    /// Those whose files can be read.
    pub(in crate::boot) fn readable(&self) -> impl Iterator<Item = (&Volume, &FileTree)> {
        self.list
            .iter()
            .filter_map(|volume| volume.files.as_ref().ok().map(|files| (volume, files)))
    }

    /// The file systems, readable or not.
    pub(in crate::boot) fn file_systems(&self) -> impl Iterator<Item = &FileSystem> {
        self.list
            .iter()
            .filter_map(|volume| volume.file_system.as_ref().ok())
    }

    /// Those whose files can be read, in the order in which menus are looked for on them.
    pub(in crate::boot) fn in_search_order(&self) -> Vec<(&Volume, &FileTree)> {
        let mut readable: Vec<_> = self.readable().collect();
        readable.sort_by_key(|(volume, _)| volume.role);
        readable
    }

    /// GRUB 2's name of a volume, without parentheses.
    pub(in crate::boot) fn grub2_name(&self, volume: &Volume) -> String {
        match (volume.partition, self.table) {
            (None, _) => "hd0".into(),
            (Some(index), TableKind::Gpt) => format!("hd0,gpt{}", index.saturating_add(1)),
            (Some(index), _) => format!("hd0,msdos{}", index.saturating_add(1)),
        }
    }

    /// All of them, as a message lists them.
    pub(in crate::boot) fn descriptions(&self) -> String {
        if self.list.is_empty() {
            return "a partition table without partitions".into();
        }
        self.list
            .iter()
            .map(Volume::description)
            .collect::<Vec<_>>()
            .join(", ")
    }

    pub(in crate::boot) fn partition(&self, index: u32) -> Option<&Volume> {
        self.list.iter().find(|volume| volume.partition == Some(index))
    }

    /// The whole disk, where it is a file system.
    pub(in crate::boot) fn whole(&self) -> Option<&Volume> {
        self.list.iter().find(|volume| volume.partition.is_none())
    }

    /// The volume that a menu on `menu` means by `device`, and a note where that is not what GRUB
    /// would have taken: menus travel from partitioned to unpartitioned disks and back.
    pub(in crate::boot) fn resolve<'a>(
        &'a self,
        device: &Device,
        menu: &'a Volume,
    ) -> Result<(&'a Volume, Option<String>), EntryProblem> {
        let missing = |reason: String| EntryProblem::Device {
            device: device.clone(),
            reason,
        };
        match device {
            Device::Other(word) => Err(EntryProblem::DeviceName(word.clone())),
            Device::FileSystem(uuid) => self
                .list
                .iter()
                .find(|volume| {
                    volume.file_system.as_ref().is_ok_and(|found| {
                        found
                            .uuid
                            .as_ref()
                            .is_some_and(|own| own.eq_ignore_ascii_case(uuid))
                    })
                })
                .map(|volume| (volume, None))
                .ok_or_else(|| missing(format!("the root disk has {}", self.descriptions()))),
            Device::Disk { disk: 1.., .. } => Err(missing("only the root disk, hd0, is looked at".into())),
            Device::Disk {
                partition: Some(index),
                ..
            } => match (self.partition(*index), self.whole()) {
                (Some(volume), _) => Ok((volume, None)),
                (None, Some(whole)) if self.table == TableKind::None => Ok((
                    whole,
                    Some(format!(
                        "{device} is taken as (hd0): the root disk has no partitions"
                    )),
                )),
                _ => Err(missing(format!("the root disk has {}", self.descriptions()))),
            },
            Device::Disk { partition: None, .. } => match self.whole() {
                Some(whole) => Ok((whole, None)),
                None => {
                    let taken = menu.device();
                    Ok((
                        menu,
                        Some(format!(
                            "{device} is taken as {taken}: the root disk has partitions"
                        )),
                    ))
                }
            },
        }
    }
}
