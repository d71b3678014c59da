//! Which entry of the menu is booted.

use std::sync::Arc;

use kiln_imagefmt::Disk;

use super::error::{Attempt, BootError};
use super::load::load;
use super::menu::{Candidate, Entry};
use super::record::record;
use super::search::{self, Located};
use super::volumes::{Volume, Volumes};
use super::{Chosen, Found};

/// Finds what `disk` boots, with `append` added to its command line. Nothing is written.
///
/// The menu is the first one that is found, on the root file system, the extended boot loader
/// partition, the EFI system partition, and then any other. Of its entries the default is tried,
/// then each fallback in turn. Entries that name no kernel at all are headings, or boot other
/// systems: if nothing but such was tried, the first entry with a kernel is taken.
pub fn choose(disk: &Arc<dyn Disk>, append: Option<&str>) -> Result<Chosen, BootError> {
    let chosen = choose_on(&Volumes::open(disk)?, append)?;
    chosen.found.log();
    Ok(chosen)
}

/// The same for a boot: what the menu remembers of it is written to `disk`, which the guest must not be
/// using.
pub fn boot(disk: &Arc<dyn Disk>, append: Option<&str>) -> Result<Chosen, BootError> {
    let volumes = Volumes::open(disk)?;
    let mut chosen = choose_on(&volumes, append)?;
    chosen.found.log();
    record(&**disk, &volumes, &mut chosen);
    Ok(chosen)
}

/// The same, on a disk that was looked at already.
pub(in crate::boot) fn choose_on(volumes: &Volumes, append: Option<&str>) -> Result<Chosen, BootError> {
    let located = search::find(volumes)?;
    let entries = &located.menu.entries;
    let mut choice = Choice {
        volumes,
        located: &located,
        append,
        attempts: Vec::new(),
    };
    for candidate in &located.menu.order {
        if let Some(chosen) = choice.take(candidate) {
            return Ok(chosen);
        }
    }
    if !choice.attempts.iter().any(|(_, boots)| *boots)
        && let Some((index, entry)) = entries.iter().enumerate().find(|(_, entry)| boots(entry))
    {
        let why = format!("entry {} is the first that can be booted", entry.place);
        if let Some(chosen) = choice.take(&Candidate { index, why }) {
            return Ok(chosen);
        }
    }
    Err(BootError::NoEntryBoots {
        menu: located.name(),
        attempts: choice.attempts.into_iter().map(|(attempt, _)| attempt).collect(),
    })
}

/// Whether an entry names a kernel.
fn boots(entry: &Entry) -> bool {
    entry.kernel.is_some()
}

/// What was tried so far.
struct Choice<'a> {
    volumes: &'a Volumes,
    located: &'a Located<'a>,
    append: Option<&'a str>,
    /// In vain, and whether the entry names a kernel.
    attempts: Vec<(Attempt, bool)>,
}

impl Choice<'_> {
    /// Tries an entry.
    fn take(&mut self, candidate: &Candidate) -> Option<Chosen> {
        let Located { home, menu, .. } = self.located;
        let entry = menu.entries.get(candidate.index)?;
        match load(entry, self.volumes, home, self.append) {
            Ok(loaded) => {
                let journals = self.volumes.list.iter().filter_map(Volume::journal_note);
                let notes = journals.chain(loaded.notes).chain(menu.notes.iter().cloned());
                Some(Chosen {
                    kernel: loaded.kernel,
                    initrd: loaded.initrd,
                    cmdline: loaded.cmdline.clone(),
                    found: Found {
                        menu: self.located.name(),
                        partition: home.partition,
                        entry: entry.title.clone(),
                        place: entry.place.clone(),
                        kernel: loaded.kernel_name,
                        initrd: loaded.initrd_names,
                        cmdline: loaded.cmdline,
                        reason: self.reason(entry, &candidate.why),
                        rewritten: loaded.rewritten,
                        notes: notes.collect(),
                    },
                    saves: entry.saves.clone(),
                })
            }
            Err(problem) => {
                let attempt = Attempt {
                    place: entry.place.clone(),
                    title: entry.title.clone(),
                    problem,
                };
                self.attempts.push((attempt, boots(entry)));
                None
            }
        }
    }

    /// Why `entry` is booted.
    fn reason(&self, entry: &Entry, why: &str) -> String {
        let passed: Vec<String> = self
            .attempts
            .iter()
            .map(|(attempt, _)| attempt.to_string())
            .collect();
        if passed.is_empty() {
            return why.into();
        }
        format!("entry {} is booted instead of {}", entry.place, passed.join("; "))
    }
}
