//! Looks for the disk's menu.

use kiln_imagefmt::probe::{FileTree, ProbeError};

use super::device::DevicePath;
use super::error::BootError;
use super::menu::Menu;
use super::places::{Format, PLACES};
use super::volumes::{Role, Volume, Volumes};
use super::{bls, extlinux, grub_cfg, menu_lst};

/// The largest menu, in bytes. GRUB legacy itself reads no more than some 32 KiB of it.
const MENU_LIMIT: u64 = 256 << 10;

/// A menu that was found.
pub(super) struct Located<'a> {
    /// The volume that it is on.
    pub(super) home: &'a Volume,
    /// Its path there.
    pub(super) path: String,
    pub(super) menu: Menu,
}

impl Located<'_> {
    /// Device and path, for messages.
    pub(super) fn name(&self) -> String {
        format!("{}{}", self.home.device(), self.path)
    }

    fn has_kernels(&self) -> bool {
        self.menu.entries.iter().any(|entry| entry.kernel.is_some())
    }
}

/// The first menu on the disk in which an entry names a kernel; else the first one with entries.
pub(super) fn find(volumes: &Volumes) -> Result<Located<'_>, BootError> {
    let order = volumes.in_search_order();
    let mut headings = None;
    let mut problem = None;
    for (home, files) in &order {
        for (format, path) in PLACES {
            let path = match format {
                Format::Loader => format!("{path}/loader/entries"),
                _ => (*path).to_owned(),
            };
            let name = || format!("{}{path}", home.device());
            match read(*format, volumes, home, files, &path) {
                Ok(Some(menu)) => {
                    let mut found = Located { home, path, menu };
                    if *format == Format::Loader && !files.exists(&found.path).unwrap_or(false) {
                        found.path = found.path.replace("loader/entries", "EFI/Linux");
                    }
                    if found.has_kernels() {
                        return Ok(found);
                    }
                    if !found.menu.entries.is_empty() {
                        headings.get_or_insert(found);
                    } else {
                        problem.get_or_insert(BootError::NoEntries {
                            menu: found.name(),
                            notes: found.menu.notes,
                        });
                    }
                }
                Ok(None) => {}
                Err(source) => {
                    problem.get_or_insert(BootError::Menu { menu: name(), source });
                }
            }
        }
    }
    match (headings, problem) {
        (Some(found), _) => Ok(found),
        (None, Some(problem)) => Err(problem),
        (None, None) if order.is_empty() => Err(BootError::NoFileSystem {
            found: volumes.descriptions(),
        }),
        (None, None) => Err(BootError::NoMenu {
            volumes: volumes.descriptions(),
        }),
    }
}

/// The menu at `path`; none if nothing is there.
fn read(
    format: Format,
    volumes: &Volumes,
    home: &Volume,
    files: &FileTree,
    path: &str,
) -> Result<Option<Menu>, ProbeError> {
    if format == Format::Loader {
        let prefix = path.strip_suffix("/loader/entries").unwrap_or_default();
        return bls::read((home, files), prefix, &partners(volumes, home));
    }
    let bytes = match files.read(path, MENU_LIMIT) {
        Ok(bytes) => bytes,
        Err(ProbeError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut read = |named: &DevicePath| {
        let volume = match &named.device {
            Some(device) => volumes.resolve(device, home).ok()?.0,
            None => home,
        };
        volume.files.as_ref().ok()?.read(&named.path, MENU_LIMIT).ok()
    };
    Ok(Some(match format {
        Format::MenuLst => menu_lst::parse(&bytes, &format!("{folder}/default"), &mut read),
        Format::Extlinux => extlinux::parse(&bytes, folder, &mut |path| files.read(path, MENU_LIMIT).ok()),
        Format::GrubCfg | Format::Loader => grub_cfg::read(&bytes, volumes, home, path),
    }))
}

/// The other partition that systemd-boot reads entries from: of the EFI system partition the extended
/// boot loader partition, and the other way round.
fn partners<'a>(volumes: &'a Volumes, home: &Volume) -> Vec<(&'a Volume, &'a FileTree)> {
    let wanted = match home.role {
        Role::ExtendedBoot => Role::EfiSystem,
        Role::EfiSystem => Role::ExtendedBoot,
        Role::Root | Role::Other => return Vec::new(),
    };
    volumes
        .readable()
        .filter(|(volume, _)| volume.role == wanted)
        .collect()
}
