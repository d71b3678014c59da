//! Writes what a menu remembers for the next boot, as the boot loader itself would.
//!
//! GRUB writes into the blocks of a small file that is there already, and neither creates, lengthens
//! nor moves one. So is it done here, and only where the file's bytes certainly lie where its file
//! system says ([`kiln_imagefmt::probe::overwrite`]). A boot that cannot remember goes on, and says
//! so.

use kiln_imagefmt::Disk;
use kiln_imagefmt::probe::overwrite;

use super::device::DevicePath;
use super::grubenv;
use super::menu::{Change, Save};
use super::volumes::{Volume, Volumes};
use super::{Chosen, Found};

/// The longest file with a saved default, in bytes.
const DEFAULT_LIMIT: u64 = 4096;

/// Does what `chosen`, which was found on `volumes` of `disk`, is to change there. What could not be done is
/// logged, and added to the notes of what was found.
pub(super) fn record(disk: &dyn Disk, volumes: &Volumes, chosen: &mut Chosen) {
    if chosen.saves.is_empty() {
        return;
    }
    let partition = chosen.found.partition;
    let Some(home) = volumes.list.iter().find(|volume| volume.partition == partition) else {
        return;
    };
    let saves = joined(&chosen.saves);
    let mut notes: Vec<String> = saves
        .iter()
        .filter_map(|save| done(volumes, home, save).err())
        .collect();
    if let Err(error) = disk.flush() {
        notes.push(format!("what the menu remembers may not be on the disk: {error}"));
    }
    note(&mut chosen.found, notes);
}

fn note(found: &mut Found, notes: Vec<String>) {
    for note in notes {
        tracing::warn!("{note}");
        found.notes.push(note);
    }
}

/// The changes, those of one environment block together: it is written once.
fn joined(saves: &[Save]) -> Vec<Save> {
    let mut joined: Vec<Save> = Vec::new();
    for save in saves {
        let same = joined.iter_mut().find(|known| known.file == save.file);
        match (same.map(|known| &mut known.change), &save.change) {
            (Some(Change::Environment(variables)), Change::Environment(more)) => {
                variables.extend_from_slice(more)
            }
            (Some(change), _) => *change = save.change.clone(),
            (None, _) => joined.push(save.clone()),
        }
    }
    joined
}

/// Writes one file anew.
fn done(volumes: &Volumes, home: &Volume, save: &Save) -> Result<(), String> {
    let DevicePath { device, path } = &save.file;
    let volume = match device {
        Some(device) => {
            volumes
                .resolve(device, home)
                .map_err(|error| error.to_string())?
                .0
        }
        None => home,
    };
    let name = format!("{}{path}", volume.device());
    let failed = |reason: &dyn std::fmt::Display| {
        Err(format!(
            "{name} is not changed, so the next boot does not know of this one: {reason}"
        ))
    };
    let (files, window) = match (&volume.files, &volume.window) {
        (Ok(files), Some(window)) => (files, window),
        (Err(error), _) => return failed(error),
        (_, None) => return failed(&"it lies beyond the end of the disk"),
    };
    let limit = match save.change {
        Change::Environment(_) => grubenv::LIMIT,
        Change::Default(_) => DEFAULT_LIMIT,
    };
    let before = match files.read(path, limit) {
        Ok(bytes) => bytes,
        Err(error) => return failed(&error),
    };
    let after = match changed(&before, &save.change) {
        Ok(after) => after,
        Err(reason) => return failed(&reason),
    };
    if before == after {
        return Ok(());
    }
    match overwrite(window, files, path, &after) {
        Ok(()) => {
            tracing::info!("{name} remembers this boot");
            Ok(())
        }
        Err(error) => failed(&error),
    }
}

/// The file's new bytes, as many as it had.
fn changed(before: &[u8], change: &Change) -> Result<Vec<u8>, &'static str> {
    match change {
        Change::Environment(variables) => {
            let mut block = grubenv::Block::parse(before).ok_or("it is no environment block of GRUB")?;
            for (name, value) in variables {
                block.set(name, value.as_deref());
            }
            block.bytes().ok_or("what it is to hold does not fit")
        }
        Change::Default(number) => {
            let line = format!("{number}\n");
            let mut after = before.to_vec();
            let head = after.get_mut(..line.len()).ok_or("it is too short")?;
            head.copy_from_slice(line.as_bytes());
            Ok(after)
        }
    }
}

#[cfg(test)]
mod tests;
