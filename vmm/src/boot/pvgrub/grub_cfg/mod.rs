//! The menu of GRUB 2: `grub.cfg`, a script.
//!
//! GRUB manual, chapter 6 "Writing your own configuration file directly". What `grub-mkconfig` and
//! the tools of distributions write is run as GRUB would, with nobody at the keyboard: its
//! conditions, functions and searches, and the environment block. The menu's own commands run
//! first; then each entry's, in a copy of what they left, which tells what the entry would load.
//!
//! ```text
//!  text ─► lexer ─► parser ─► interpreter ─► items ─► interpreter, for each ─► Menu
//!                                 └─ commands, condition, search, environment, budget
//! ```
//!
//! Nothing is written: what a script saves is handed on with the entry ([`super::menu::Save`]).

mod budget;
mod commands;
mod condition;
mod entries;
mod environment;
mod interpreter;
mod lexer;
mod loader_entries;
mod parser;
mod search;

use super::menu::{Candidate, ENTRY_LIMIT, Entry, Menu, readable};
use super::volumes::{Volume, Volumes};
use budget::{Budget, Exhausted};
use environment::Environment;
use interpreter::Interpreter;
use parser::Script;

/// The longest file that a script reads, in bytes.
pub(super) const FILE_LIMIT: u64 = 256 << 10;

/// What GRUB 2 says that it can do, and its scripts ask for.
const FEATURES: &[&str] = &[
    "feature_200_final",
    "feature_all_video_module",
    "feature_chainloader_bpb",
    "feature_default_font_path",
    "feature_menuentry_id",
    "feature_menuentry_options",
    "feature_nativedisk_cmd",
    "feature_ntldr",
    "feature_platform_search_hint",
    "feature_timeout_style",
];

/// An entry whose commands are still to be run.
struct Item {
    title: String,
    id: Option<String>,
    body: Body,
}

enum Body {
    /// Commands, and their parameters.
    Script(Script, Vec<String>),
    /// An entry of the boot loader specification: there is nothing to run.
    Ready(Box<Entry>),
}

/// The entries of a menu, in their order.
#[derive(Default)]
struct Items(Vec<Item>);

impl Item {
    fn script(title: String, id: Option<String>, body: Script, parameters: Vec<String>) -> Item {
        Item {
            title,
            id,
            body: Body::Script(body, parameters),
        }
    }
}

impl Items {
    fn push(&mut self, item: Item) -> Result<(), Exhausted> {
        if self.0.len() >= ENTRY_LIMIT {
            return Err(Exhausted);
        }
        self.0.push(item);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Runs the menu in `bytes`, which was read from `path` of `home`.
pub(super) fn read(bytes: &[u8], volumes: &Volumes, home: &Volume, path: &str) -> Menu {
    let budget = Budget::default();
    let device = volumes.grub2_name(home);
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut environment = Environment::default();
    let known = [
        ("root", device.clone()),
        ("prefix", format!("({device}){folder}")),
        ("config_directory", format!("({device}){folder}")),
        ("config_file", format!("({device}){path}")),
        ("grub_platform", "pc".into()),
        ("grub_cpu", "i386".into()),
    ];
    let features = FEATURES.iter().map(|name| (*name, "y".into()));
    for (name, value) in known.into_iter().chain(features) {
        // A dozen short values are within all limits.
        let _ = environment.set(name, &value);
    }
    let (script, notes) = parser::parse(&readable(bytes));
    let mut top = Interpreter::new(volumes, home, &budget, environment);
    top.notes = notes;
    if top.nested(&script).is_err() {
        top.notes
            .push("the menu does more than any sound one: its rest is left out".into());
    }
    let mut menu = entries::run_all(&mut top);
    menu.order = order(&menu, &top);
    menu.notes = top.notes;
    menu
}

/// The entries that are tried: `$default`, then those of `$fallback`.
fn order(menu: &Menu, top: &Interpreter<'_>) -> Vec<Candidate> {
    if menu.entries.is_empty() {
        return Vec::new();
    }
    let wanted = top.environment.get("default");
    let found = if wanted.is_empty() {
        Some(0)
    } else {
        menu.find(wanted)
    };
    let place = |index: usize| menu.entries.get(index).map_or("", |entry| entry.place.as_str());
    let entered = menu.entered(found.unwrap_or(0));
    let place_of_default = place(entered);
    let saved = |name: &str| {
        let mut blocks = top.blocks.iter();
        blocks.find_map(|(file, variables)| {
            let is_it = |pair: &&(String, String)| pair.0 == name && pair.1 == wanted;
            variables.iter().find(is_it).map(|_| file.clone())
        })
    };
    let why = match (wanted, found) {
        ("", _) => format!("entry {place_of_default} is the first, and the menu has no default"),
        (_, None) => format!("the menu's default, {wanted}, is not among its entries: the first is booted"),
        _ => match (saved("next_entry"), saved("saved_entry")) {
            (Some(file), _) => format!("entry {place_of_default} is asked for once: next_entry in {file}"),
            (None, Some(file)) => {
                format!("entry {place_of_default} is the saved default: saved_entry in {file}")
            }
            (None, None) => format!("entry {place_of_default} is the menu's default"),
        },
    };
    let mut order = vec![Candidate { index: entered, why }];
    for wanted in top.environment.get("fallback").split_whitespace() {
        if let Some(found) = menu.find(wanted).map(|index| menu.entered(index)) {
            order.push(Candidate {
                index: found,
                why: format!("entry {} is a fallback of the menu", place(found)),
            });
        }
    }
    order
}

#[cfg(test)]
mod tests;
