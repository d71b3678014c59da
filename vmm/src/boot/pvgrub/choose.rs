//! Which entry of which menu is booted.

use std::sync::Arc;

use kiln_imagefmt::Disk;
use kiln_imagefmt::probe::{FileTree, ProbeError};

use super::error::{Attempt, BootError};
use super::load::load;
use super::menu_lst::{self, Default, Menu};
use super::places::{self, PLACES};
use super::volumes::{Volume, Volumes};
use super::{Chosen, Found};

/// The largest menu, in bytes. GRUB itself reads no more than some 32 KiB of it.
const MENU_LIMIT: u64 = 256 << 10;

/// The largest file with a saved default, in bytes.
const SAVED_LIMIT: u64 = 4096;

/// Finds what `disk` boots, with `append` added to its command line.
///
/// The menu is the first one of `/boot/grub/menu.lst` and `/grub/menu.lst` (or `grub.conf`) on the
/// partitions in their order, or on the unpartitioned disk. Of its entries the default is tried,
/// then each `fallback` in turn. Entries that name no kernel at all are headings, or boot other
/// systems: if nothing but such was tried, the first entry with a kernel is taken.
pub fn choose(disk: &Arc<dyn Disk>, append: Option<&str>) -> Result<Chosen, BootError> {
    let chosen = choose_on(&Volumes::open(disk)?, append)?;
    chosen.found.log();
    Ok(chosen)
}

/// The same, on a disk that was looked at already.
pub(super) fn choose_on(volumes: &Volumes, append: Option<&str>) -> Result<Chosen, BootError> {
    let (home, files, path, menu) = find_menu(volumes)?;
    let name = format!("{}{path}", home.device());
    let (default, why) = default_entry(&menu, files, path);
    let mut order = vec![default];
    order.extend(&menu.fallback);
    let mut attempts: Vec<Attempt> = Vec::new();
    let take = |index: usize, attempts: &mut Vec<Attempt>| -> Option<Chosen> {
        let entry = menu.entries.get(index)?;
        match load(entry, &menu, volumes, home, append) {
            Ok(loaded) => {
                let reason = reason(index, default, &why, attempts);
                let notes = volumes.list.iter().filter_map(Volume::journal_note);
                Some(Chosen {
                    kernel: loaded.kernel,
                    initrd: loaded.initrd,
                    cmdline: loaded.cmdline,
                    found: Found {
                        menu: name.clone(),
                        partition: home.partition,
                        entry: entry.title.clone(),
                        index,
                        kernel: loaded.kernel_name,
                        initrd: loaded.initrd_names,
                        reason,
                        rewritten: loaded.rewritten,
                        notes: notes.chain(loaded.notes).collect(),
                    },
                })
            }
            Err(problem) => {
                attempts.push(Attempt {
                    index,
                    title: entry.title.clone(),
                    problem,
                });
                None
            }
        }
    };
    for index in order {
        if let Some(chosen) = take(index, &mut attempts) {
            return Ok(chosen);
        }
    }
    let boots = |index: &usize| {
        menu.entries
            .get(*index)
            .is_some_and(|entry| entry.kernel.is_some())
    };
    if !attempts.iter().any(|attempt| boots(&attempt.index))
        && let Some(index) = (0..menu.entries.len()).find(boots)
        && let Some(chosen) = take(index, &mut attempts)
    {
        return Ok(chosen);
    }
    Err(BootError::NoEntryBoots { menu: name, attempts })
}

/// Why entry `index` is booted.
fn reason(index: usize, default: usize, why: &str, attempts: &[Attempt]) -> String {
    let passed: Vec<String> = attempts.iter().map(ToString::to_string).collect();
    match passed.is_empty() {
        true if index == default => why.into(),
        true => format!("entry {index} is the first that can be booted"),
        false => format!("entry {index} is booted instead of {}", passed.join("; ")),
    }
}

type Located<'a> = (&'a Volume, &'a FileTree, &'static str, Menu);

/// The first menu on the disk that has entries.
fn find_menu(volumes: &Volumes) -> Result<Located<'_>, BootError> {
    let mut problem = None;
    for (volume, files) in volumes.readable() {
        for path in PLACES {
            let name = || format!("{}{path}", volume.device());
            match files.read(path, MENU_LIMIT) {
                Ok(bytes) => {
                    let menu = menu_lst::parse(&bytes);
                    if !menu.entries.is_empty() {
                        return Ok((volume, files, path, menu));
                    }
                    problem.get_or_insert(BootError::NoEntries { menu: name() });
                }
                Err(ProbeError::NotFound { .. }) => {}
                Err(source) => {
                    problem.get_or_insert(BootError::Menu { menu: name(), source });
                }
            }
        }
    }
    Err(match problem {
        Some(problem) => problem,
        None if volumes.readable().next().is_none() => BootError::NoFileSystem {
            found: volumes.descriptions(),
        },
        None => BootError::NoMenu {
            places: places::listed(),
            volumes: volumes.descriptions(),
        },
    })
}

/// The index of the default entry, and why it is that one. A number beyond the menu's end means
/// the first entry, as for GRUB.
fn default_entry(menu: &Menu, files: &FileTree, path: &str) -> (usize, String) {
    let (index, why) = match menu.default {
        Default::Entry(index) => (index, format!("entry {index} is the menu's default")),
        Default::Saved => {
            let beside = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let saved = format!("{beside}/default");
            let number = files.read(&saved, SAVED_LIMIT).ok();
            let number = number.and_then(|bytes| menu_lst::leading_number(&String::from_utf8_lossy(&bytes)));
            match number {
                Some(index) => (index, format!("entry {index} is the saved default ({saved})")),
                None => (
                    0,
                    format!("no default is saved in {saved}: the first entry is booted"),
                ),
            }
        }
    };
    match menu.entries.len() {
        len if index < len => (index, why),
        len => (
            0,
            format!("the menu's default, {index}, is not among its {len} entries: the first is booted"),
        ),
    }
}
