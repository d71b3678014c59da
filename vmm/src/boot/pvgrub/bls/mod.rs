//! Entries of the Boot Loader Specification: a file each, or a unified kernel image each.
//!
//! UAPI group, Boot Loader Specification (UAPI.1). systemd-boot shows those of `loader/entries`
//! and `EFI/Linux`, and takes the first that `loader.conf` names, else the first one. GRUB shows
//! those of `loader/entries` where its script says `blscfg`, as in Red Hat's family; there options
//! may name GRUB's variables.

mod entry_file;
mod loader_conf;
mod version;

use kiln_imagefmt::probe::{FileTree, ProbeError};

pub(super) use entry_file::EntryFile;

use super::device::DevicePath;
use super::grubenv;
use super::menu::{Candidate, ENTRY_LIMIT, Entry, INITRD_LIMIT, Menu};
use super::uki;
use super::volumes::Volume;

/// The longest entry, in bytes.
const FILE_LIMIT: u64 = 64 << 10;

/// The longest value that is made of another's: it stops a variable that is named over and over.
const VALUE_LIMIT: usize = 16 << 10;

/// Where GRUB's environment block may lie, whose variables options name.
const BLOCKS: &[&str] = &["/grub2/grubenv", "/grub/grubenv"];

/// An entry that was found, with its kernel and initramfs where they are.
struct Found {
    file: EntryFile,
    /// What stands before the paths that it names.
    prefix: String,
    device: super::device::Device,
}

/// Reads the menu of a boot volume: its `loader` and `EFI/Linux` folders lie in `prefix`, and those of
/// `others` at their top. An entry whose kernel is not there is none, as for systemd-boot. None if there is no
/// entry at all.
pub(super) fn read(
    home: (&Volume, &FileTree),
    prefix: &str,
    others: &[(&Volume, &FileTree)],
) -> Result<Option<Menu>, ProbeError> {
    let mut notes = Vec::new();
    let (mut found, mut gone) = (Vec::new(), Vec::new());
    let places = std::iter::once((home, prefix)).chain(others.iter().map(|other| (*other, "")));
    for ((volume, files), prefix) in places.clone() {
        for mut file in entry_files(files, &format!("{prefix}/loader/entries"), &mut notes)? {
            let prefix = place(files, prefix, &mut file);
            let kernel = file.kernel.as_ref().map(|kernel| joined(&prefix, kernel));
            let entry = Found {
                file,
                prefix,
                device: volume.device(),
            };
            match kernel {
                Some(kernel) if matches!(files.exists(&kernel), Ok(false)) => gone.push((entry, kernel)),
                _ => found.push(entry),
            }
        }
        for file in uki::entry_files(files, &format!("{prefix}/EFI/Linux"))? {
            found.push(Found {
                file,
                prefix: String::new(),
                device: volume.device(),
            });
        }
    }
    if found.is_empty() {
        // If there is nothing else, the error is to say what they lack.
        found.extend(gone.into_iter().map(|(entry, _)| entry));
    } else {
        notes.extend(gone.into_iter().map(|(entry, kernel)| {
            let (id, device) = (entry.file.id, entry.device);
            format!("the entry {id} of {device} is left out: there is no {kernel}")
        }));
    }
    if found.is_empty() {
        return Ok(None);
    }
    found.sort_by(|one, two| one.file.menu_order(&two.file));
    found.truncate(ENTRY_LIMIT);
    let pattern = places.clone().find_map(|((_, files), prefix)| {
        let bytes = files
            .read(&format!("{prefix}/loader/loader.conf"), FILE_LIMIT)
            .ok()?;
        loader_conf::default(&bytes)
    });
    let block = environment(home.1, prefix);
    let variable = |name: &str| {
        let block = block.as_ref()?;
        let mut variables = block.variables();
        variables
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.to_owned())
    };
    let order = order(&found, pattern);
    let entries = found.into_iter().enumerate().map(|(nth, found)| {
        let mut entry = entry(&found.file, &found.prefix, &variable);
        entry.place = nth.to_string();
        entry.root = Some(found.device);
        entry
    });
    Ok(Some(Menu {
        entries: entries.collect(),
        order,
        notes,
    }))
}

/// The entry that is the default, and those that are booted if its files are missing.
fn order(found: &[Found], pattern: Option<String>) -> Vec<Candidate> {
    let named = pattern.as_ref().and_then(|pattern| {
        found
            .iter()
            .position(|found| loader_conf::matches(pattern, &found.file.id))
    });
    let why = match (pattern, named) {
        (Some(pattern), Some(index)) => format!("entry {index} is loader.conf's default, {pattern}"),
        (Some(pattern), None) => {
            format!("loader.conf's default, {pattern}, is no entry: the first is booted")
        }
        (None, _) => "entry 0 is the newest, and no default is set".into(),
    };
    vec![Candidate {
        index: named.unwrap_or(0),
        why,
    }]
}

/// The entries in `folder`, sorted as a menu shows them. `notes` gets those that are left out.
pub(super) fn entry_files(
    files: &FileTree,
    folder: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<EntryFile>, ProbeError> {
    let listed = match files.list(folder) {
        Ok(listed) => listed,
        Err(ProbeError::NotFound { .. } | ProbeError::NotAFile { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries = Vec::new();
    for name in listed.into_iter().map(|entry| entry.name) {
        if !name.to_ascii_lowercase().ends_with(".conf") || entries.len() >= ENTRY_LIMIT {
            continue;
        }
        match files.read(&format!("{folder}/{name}"), FILE_LIMIT) {
            Ok(bytes) => {
                let entry = EntryFile::parse(&name, &bytes);
                if entry.is_for_x86() {
                    entries.push(entry);
                }
            }
            Err(error) => notes.push(error.to_string()),
        }
    }
    entries.sort_by(EntryFile::menu_order);
    Ok(entries)
}

/// What stands before the paths of `file`, whose folder `loader` lies in `prefix`: nothing, or
/// `prefix`, where `/boot` is no file system of its own but the tool that wrote the entry took it for one.
pub(super) fn place(files: &FileTree, prefix: &str, file: &mut EntryFile) -> String {
    let is_there = |prefix: &str| {
        let kernel = file.kernel.as_ref();
        kernel.is_some_and(|kernel| files.exists(&joined(prefix, kernel)).unwrap_or(false))
    };
    if !prefix.is_empty() && !is_there("") && is_there(prefix) {
        prefix.into()
    } else {
        String::new()
    }
}

fn joined(prefix: &str, path: &str) -> String {
    format!("{prefix}/{}", path.trim_start_matches('/'))
}

/// GRUB's environment block on the volume.
fn environment(files: &FileTree, prefix: &str) -> Option<grubenv::Block> {
    BLOCKS.iter().find_map(|path| {
        let bytes = files.read(&format!("{prefix}{path}"), grubenv::LIMIT).ok()?;
        grubenv::Block::parse(&bytes)
    })
}

/// The entry that `file` describes; `$name` in its values is what `variable` gives for it.
pub(super) fn entry(file: &EntryFile, prefix: &str, variable: &dyn Fn(&str) -> Option<String>) -> Entry {
    let path = |path: &str| DevicePath {
        device: None,
        path: joined(prefix, path),
    };
    let initrds = file.initrds.iter().map(|initrd| substituted(initrd, variable));
    let initrds = initrds.flat_map(|initrds| initrds.split_whitespace().map(path).collect::<Vec<_>>());
    Entry {
        title: file.shown(),
        id: Some(file.id.clone()),
        version: file.version.clone(),
        kernel: file.kernel.as_deref().map(path),
        arguments: substituted(&file.options, variable).trim().into(),
        initrds: initrds.take(INITRD_LIMIT).collect(),
        ..Entry::default()
    }
}

/// `text` with `$name` and `${name}` replaced; what is not known becomes nothing.
fn substituted(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$').filter(|_| out.len() < VALUE_LIMIT) {
        out.push_str(before);
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let (name, after) = braced.unwrap_or_else(|| {
            let belongs = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = after.find(|c| !belongs(c)).unwrap_or(after.len());
            after.split_at_checked(end).unwrap_or((after, ""))
        });
        match name {
            "" => out.push('$'),
            name => out.push_str(&variable(name).unwrap_or_default()),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
