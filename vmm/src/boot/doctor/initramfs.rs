//! Whether the kernel finds a virtual disk: with drivers in its initramfs, or built in.

use std::io;

use kiln_imagefmt::probe::FileTree;

use super::super::payload::{self, Compression};
use super::super::pvgrub::Chosen;
use super::{Examined, Finding, cpio};

/// The drivers of a virtio disk on PCI.
const DRIVERS: [&str; 2] = ["virtio_blk", "virtio_pci"];
/// The longest list of what is built into a kernel that is read, in bytes.
const BUILT_IN: u64 = 4 << 20;
/// The most versions of kernels that are looked through.
const VERSIONS: usize = 32;

pub(super) fn examine(disk: &Examined) -> Option<Finding> {
    let chosen = disk.chosen.as_ref().ok()?;
    let Contents { drivers, has_modules } = match contents(&chosen.initrd) {
        Ok(contents) => contents,
        Err(error) => {
            return Some(Finding::error(
                "InitramfsDamaged",
                format!(
                    "the initramfs {} cannot be read: {error}",
                    chosen.found.initrd.join(" ")
                ),
                "make it anew (update-initramfs -u, or dracut --force)",
            ));
        }
    };
    let built_in = built_in(disk, chosen);
    let lacking: Vec<&str> = DRIVERS
        .into_iter()
        .zip(drivers)
        .filter(|(driver, is_there)| {
            let is_built_in = built_in.as_ref().map(|list| is_listed(list, driver));
            // Where nothing says what is built in, a kernel without any modules has all of it.
            !is_there && !is_built_in.unwrap_or(!has_modules)
        })
        .map(|(driver, _)| driver)
        .collect();
    let what = if chosen.initrd.is_empty() {
        "there is no initramfs, and the kernel".to_owned()
    } else {
        format!(
            "neither the initramfs {} nor the kernel",
            chosen.found.initrd.join(" ")
        )
    };
    let verb = if chosen.initrd.is_empty() { "lacks" } else { "has" };
    (!lacking.is_empty()).then(|| {
        Finding::error(
            "InitramfsWithoutVirtio",
            format!(
                "{what} {verb} {}: the system does not find its disk",
                lacking.join(" and ")
            ),
            "add the modules (/etc/initramfs-tools/modules and update-initramfs -u, or dracut --add-drivers)",
        )
    })
}

/// What counts in an initramfs.
struct Contents {
    /// Which of [`DRIVERS`] are there.
    drivers: [bool; 2],
    /// Whether there are modules at all.
    has_modules: bool,
}

/// Reads archives one behind the other, the last of which may be compressed: so distributions put what the kernel wants
/// early before the rest.
fn contents(mut initramfs: &[u8]) -> io::Result<Contents> {
    let mut found = Contents {
        drivers: [false; 2],
        has_modules: false,
    };
    let mut see = |name: &str| {
        let file = name.rsplit('/').next().unwrap_or_default();
        let Some((module, _)) = file.split_once(".ko") else {
            return;
        };
        found.has_modules = true;
        // Some are numbered in the order of their loading.
        let module = module.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        for (is_there, driver) in found.drivers.iter_mut().zip(DRIVERS) {
            *is_there |= module.replace('-', "_") == driver;
        }
    };
    loop {
        let padding = initramfs.iter().take_while(|byte| **byte == 0).count();
        initramfs = initramfs.get(padding..).unwrap_or_default();
        if initramfs.is_empty() {
            break;
        }
        match Compression::of(initramfs) {
            Some(compression) => {
                let reader = payload::decompress(initramfs, compression).map_err(io::Error::other)?;
                cpio::names(reader, &mut see)?;
                break;
            }
            None => cpio::names(&mut initramfs, &mut see)?,
        }
    }
    Ok(found)
}

/// The list of what is built into the kernel, from the modules of its version, or from those of the only one.
fn built_in(disk: &Examined, chosen: &Chosen) -> Option<String> {
    let version = chosen
        .found
        .kernel
        .rsplit_once("vmlinuz-")
        .map(|(_, version)| version);
    let mut readable = disk.volumes.readable();
    readable.find_map(|(_, files)| {
        let version = match version {
            Some(version) => version.to_owned(),
            None => only_version(files)?,
        };
        ["/lib/modules", "/usr/lib/modules"]
            .into_iter()
            .find_map(|folder| {
                let path = format!("{folder}/{version}/modules.builtin");
                let list = files.read(&path, BUILT_IN).ok()?;
                Some(String::from_utf8_lossy(&list).into_owned())
            })
    })
}

fn only_version(files: &FileTree) -> Option<String> {
    let all = files.list("/lib/modules").ok()?;
    let mut folders = all.into_iter().take(VERSIONS).filter(|entry| entry.is_folder);
    let first = folders.next()?;
    folders.next().is_none().then_some(first.name)
}

fn is_listed(list: &str, driver: &str) -> bool {
    list.lines().any(|line| {
        let file = line.rsplit('/').next().unwrap_or_default();
        let module = file.split_once(".ko").map(|(module, _)| module.replace('-', "_"));
        module.as_deref() == Some(driver)
    })
}
