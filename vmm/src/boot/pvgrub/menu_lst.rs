//! The menu of GRUB legacy: `menu.lst`, also spelled `grub.conf`.
//!
//! GRUB 0.97 manual, chapters 14 (commands) and 15 (menu). A line is a command; `title` begins an
//! entry, and what stands before the first `title` concerns the menu. A line that begins with `#`
//! is a comment: so is the block between `## ## Start Default Options ##` and its end, in which
//! Debian's tools keep their own settings.

use super::device::{Device, DevicePath};
use super::menu::{Candidate, Change, ENTRY_LIMIT, Entry, INITRD_LIMIT, Menu, Obstacle, Save, readable};

/// The most fallbacks.
const FALLBACK_LIMIT: usize = 64;

/// The deepest nesting of menus that lead to others by `configfile`.
const DEPTH_LIMIT: usize = 4;

/// The most menus that are read for one.
const FILE_LIMIT: usize = 16;

/// Commands that boot something else than a Linux kernel.
const FOREIGN: &[&str] = &["chainloader", "reboot", "halt", "multiboot", "linux16"];

/// The entry that is booted unless the user chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Default {
    /// This one, from 0.
    Entry(usize),
    /// The one whose number is in the file `default` beside the menu.
    Saved,
}

/// A parsed file.
struct File {
    default: Default,
    fallback: Vec<usize>,
    /// A root that is set for all entries.
    root: Option<Device>,
    /// A menu that takes the place of this one.
    other: Option<DevicePath>,
    entries: Vec<(Entry, Extra)>,
}

/// What an entry may have besides.
#[derive(std::default::Default)]
struct Extra {
    /// `savedefault`, and the number after it.
    saves: Option<Saved>,
    /// The menu that it leads to.
    other: Option<DevicePath>,
}

/// Which number `savedefault` saves.
enum Saved {
    Own,
    Fallback,
    Number(usize),
}

/// Parses the menu in `bytes`; `beside` is the file `default` in its folder, and `read` gives other
/// files. Every sequence of bytes is a menu: what is not understood is passed over, as GRUB does
/// with commands that do not concern booting.
pub(super) fn parse(
    bytes: &[u8],
    beside: &str,
    read: &mut dyn FnMut(&DevicePath) -> Option<Vec<u8>>,
) -> Menu {
    let mut menu = Menu::default();
    let mut left = FILE_LIMIT;
    let mut file = File::parse(bytes);
    while let Some(bytes) = file
        .other
        .take()
        .filter(|_| file.entries.is_empty())
        .and_then(|other| {
            left = left.checked_sub(1)?;
            read(&other)
        })
    {
        file = File::parse(&bytes);
    }
    let (default, fallback) = (file.default, file.fallback.clone());
    let len = file.entries.len();
    let mut adding = Adding {
        menu: &mut menu,
        read,
        left,
        beside,
    };
    adding.add(file, "", 0);
    if len > 0 {
        let (index, why) = default_entry(default, len, beside, read);
        menu.order = std::iter::once((index, why))
            .chain(
                fallback
                    .into_iter()
                    .map(|index| (index, format!("entry {index} is a fallback of the menu"))),
            )
            .filter_map(|(index, why)| {
                let index = menu.find(&index.to_string())?;
                Some(Candidate {
                    index: menu.entered(index),
                    why,
                })
            })
            .collect();
    }
    menu
}

/// The number of the default entry, and why it is that one. A number beyond the menu's end means
/// the first entry, as for GRUB.
fn default_entry(
    default: Default,
    len: usize,
    beside: &str,
    read: &mut dyn FnMut(&DevicePath) -> Option<Vec<u8>>,
) -> (usize, String) {
    let (index, why) = match default {
        Default::Entry(index) => (index, format!("entry {index} is the menu's default")),
        Default::Saved => {
            let file = DevicePath {
                device: None,
                path: beside.into(),
            };
            let number = read(&file).and_then(|bytes| leading_number(&String::from_utf8_lossy(&bytes)));
            match number {
                Some(index) => (index, format!("entry {index} is the saved default ({beside})")),
                None => (
                    0,
                    format!("no default is saved in {beside}: the first entry is booted"),
                ),
            }
        }
    };
    if index < len {
        return (index, why);
    }
    (
        0,
        format!("the menu's default, {index}, is not among its {len} entries: the first is booted"),
    )
}

/// Puts files' entries into a menu.
struct Adding<'a> {
    menu: &'a mut Menu,
    read: &'a mut dyn FnMut(&DevicePath) -> Option<Vec<u8>>,
    left: usize,
    beside: &'a str,
}

impl Adding<'_> {
    fn add(&mut self, file: File, parent: &str, depth: usize) {
        for (nth, (mut entry, extra)) in file.entries.into_iter().enumerate() {
            if self.menu.entries.len() >= ENTRY_LIMIT {
                return;
            }
            entry.place = match parent {
                "" => nth.to_string(),
                parent => format!("{parent}>{nth}"),
            };
            entry.root = entry.root.or_else(|| file.root.clone());
            let saved = match extra.saves {
                Some(Saved::Own) => Some(nth),
                Some(Saved::Fallback) => Some(file.fallback.first().copied().unwrap_or(0)),
                Some(Saved::Number(number)) => Some(number),
                None => None,
            };
            // Of a menu that another one leads to, the number would be taken for the other's.
            entry
                .saves
                .extend(saved.filter(|_| depth == 0).map(|number| Save {
                    file: DevicePath {
                        device: None,
                        path: self.beside.into(),
                    },
                    change: Change::Default(number),
                }));
            let (place, root, leads) = (entry.place.clone(), entry.root.clone(), entry.kernel.is_none());
            self.menu.entries.push(entry);
            let other = extra
                .other
                .filter(|_| leads && depth < DEPTH_LIMIT)
                .and_then(|mut other| {
                    self.left = self.left.checked_sub(1)?;
                    other.device = other.device.or(root);
                    (self.read)(&other)
                });
            if let Some(bytes) = other {
                self.add(File::parse(&bytes), &place, depth.saturating_add(1));
            }
        }
    }
}

impl File {
    fn parse(bytes: &[u8]) -> File {
        let mut file = File {
            default: Default::Entry(0),
            fallback: Vec::new(),
            root: None,
            other: None,
            entries: Vec::new(),
        };
        for line in logical_lines(&readable(bytes)) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (command, rest) = command(line);
            if command == "title" {
                if file.entries.len() >= ENTRY_LIMIT {
                    break;
                }
                let entry = Entry {
                    title: rest.into(),
                    ..Entry::default()
                };
                file.entries.push((entry, Extra::default()));
            } else if let Some((entry, extra)) = file.entries.last_mut() {
                apply(entry, extra, command, rest);
            } else {
                file.apply(command, rest);
            }
        }
        file
    }

    /// A command before the first entry.
    fn apply(&mut self, command: &str, rest: &str) {
        match command {
            "default" if rest.split_whitespace().next() == Some("saved") => self.default = Default::Saved,
            "default" => self.default = Default::Entry(leading_number(rest).unwrap_or(0)),
            "fallback" => {
                let numbers = rest.split([' ', '\t', ',']).filter_map(leading_number);
                self.fallback = numbers.take(FALLBACK_LIMIT).collect();
            }
            "configfile" => self.other = rest.split_whitespace().next().map(DevicePath::parse),
            _ => {
                if let Some(root) = root(command, rest) {
                    self.root = Some(root);
                }
            }
        }
    }
}

/// A command of an entry.
fn apply(entry: &mut Entry, extra: &mut Extra, command: &str, rest: &str) {
    match command {
        "kernel" | "linux" => {
            let (file, arguments) = kernel(rest);
            entry.kernel = file;
            entry.arguments = arguments.into();
        }
        // GRUB keeps what was loaded last.
        "initrd" => {
            entry.initrds = rest
                .split_whitespace()
                .take(INITRD_LIMIT)
                .map(DevicePath::parse)
                .collect();
        }
        "module" | "modulenounzip" => entry.obstacle = Some(Obstacle::Modules),
        "savedefault" => {
            let word = rest.trim_start_matches("--default=");
            extra.saves = Some(match (rest, leading_number(word)) {
                ("fallback", _) => Saved::Fallback,
                (_, Some(number)) => Saved::Number(number),
                (_, None) => Saved::Own,
            });
        }
        "configfile" => extra.other = rest.split_whitespace().next().map(DevicePath::parse),
        _ => {
            if let Some(root) = root(command, rest) {
                entry.root = Some(root);
            } else if FOREIGN.contains(&command) && entry.obstacle.is_none() {
                entry.obstacle = Some(Obstacle::Command(command.into()));
            }
        }
    }
}

/// The device that a line makes the root.
fn root(command: &str, rest: &str) -> Option<Device> {
    let word = rest.split_whitespace().next()?;
    match command {
        "root" | "rootnoverify" => Some(Device::parse(word)),
        "uuid" => Some(Device::FileSystem(word.to_ascii_lowercase())),
        _ => None,
    }
}

/// Splits a `kernel` line: options of GRUB, the file, the command line.
fn kernel(line: &str) -> (Option<DevicePath>, &str) {
    let mut rest = line;
    loop {
        let (word, after) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        let after = after.trim_start();
        if word.is_empty() {
            return (None, "");
        }
        if !word.starts_with("--") {
            return (Some(DevicePath::parse(word)), after);
        }
        rest = after;
    }
}

/// The command of a line, and what follows it. GRUB takes `default=0` for `default 0`.
fn command(line: &str) -> (&str, &str) {
    let (command, rest) = line.split_once([' ', '\t', '=']).unwrap_or((line, ""));
    (command, rest.trim_start_matches([' ', '\t', '=']))
}

/// The number at the beginning of a word.
fn leading_number(word: &str) -> Option<usize> {
    let word = word.trim_start();
    let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    word.get(..end)?.parse().ok()
}

/// The lines, those that end in a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    text.replace("\\\n", "").lines().map(String::from).collect()
}

#[cfg(test)]
mod tests;
