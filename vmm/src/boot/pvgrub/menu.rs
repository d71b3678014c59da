//! What every kind of boot menu comes down to.

use super::device::{Device, DevicePath};

/// The most entries of a menu; more are not looked at. Real menus have a dozen.
pub(super) const ENTRY_LIMIT: usize = 512;

/// The most initramfs files of an entry.
pub(super) const INITRD_LIMIT: usize = 32;

/// A menu: its entries, and which of them are to be tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Menu {
    /// The entries, those of submenus after the entry that leads to them.
    pub entries: Vec<Entry>,
    /// The entries that are tried unattended, in this order: the default, then its fallbacks.
    pub order: Vec<Candidate>,
    /// What was odd about the menu, a sentence each.
    pub notes: Vec<String>,
}

/// An entry that is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its index among the menu's entries.
    pub index: usize,
    /// Why it is tried.
    pub why: String,
}

/// An entry of a menu.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Its place: `2`, or `1>0` in a submenu, each from 0.
    pub place: String,
    /// Its title.
    pub title: String,
    /// Its name for defaults, where the menu's format gives it one.
    pub id: Option<String>,
    /// The version by which it was sorted, where the menu's format does.
    pub version: Option<String>,
    /// Where its files are; none for the menu's own place.
    pub root: Option<Device>,
    /// The kernel's file.
    pub kernel: Option<DevicePath>,
    /// The command line.
    pub arguments: String,
    /// The initramfs files.
    pub initrds: Vec<DevicePath>,
    /// Why it boots no Linux kernel, where that is known already.
    pub obstacle: Option<Obstacle>,
    /// What booting it changes on the disk.
    pub saves: Vec<Save>,
}

/// Why an entry boots no Linux kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A command that boots something else.
    Command(String),
    /// It loads modules, as multiboot kernels need.
    Modules,
    /// It cannot be understood to its end.
    Unfinished(String),
}

/// A change to a small file of the menu's, which remembers a choice for the next boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Save {
    /// The file.
    pub file: DevicePath,
    /// What becomes of it.
    pub change: Change,
}

/// A change to a file that remembers a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Variables of a GRUB environment block: set, or taken out.
    Environment(Vec<(String, Option<String>)>),
    /// The number in the file `default` of GRUB legacy.
    Default(usize),
}

impl Save {
    /// How many bytes it holds, about.
    pub(super) fn len(&self) -> usize {
        let change = match &self.change {
            Change::Environment(variables) => variables
                .iter()
                .map(|(name, value)| name.len().saturating_add(value.as_ref().map_or(0, String::len)))
                .fold(0, usize::saturating_add),
            Change::Default(_) => 0,
        };
        change
            .saturating_add(self.file.path.len())
            .saturating_add(size_of::<Save>())
    }
}

impl Menu {
    /// The index of the entry that `wanted` names in the menu at `place`, by number, name or title;
    /// `>` leads into submenus.
    pub(super) fn find(&self, wanted: &str) -> Option<usize> {
        let mut place = String::new();
        let mut found = None;
        for step in steps(wanted) {
            let here = self.at(&place, &step)?;
            place.clone_from(&self.entries.get(here)?.place);
            found = Some(here);
        }
        found
    }

    /// The entry `step` of the submenu at `place`.
    fn at(&self, place: &str, step: &str) -> Option<usize> {
        let number: Option<usize> = step.trim().parse().ok();
        let named = |entry: &Entry| entry.id.as_deref() == Some(step) || entry.title == step;
        let mut children = self.entries.iter().enumerate().filter(|(_, entry)| {
            let parent = entry.place.rsplit_once('>').map_or("", |(parent, _)| parent);
            parent == place
        });
        match number {
            Some(number) => children.nth(number),
            None => children.find(|(_, entry)| named(entry)),
        }
        .map(|(index, _)| index)
    }

    /// The entry itself, or the first one in the submenu that it leads to.
    pub(super) fn entered(&self, index: usize) -> usize {
        let mut index = index;
        while let (Some(entry), Some(next)) = (self.entries.get(index), index.checked_add(1)) {
            let first = format!("{}>0", entry.place);
            match self.entries.get(next) {
                Some(child) if child.place == first && entry.kernel.is_none() => index = next,
                _ => break,
            }
        }
        index
    }
}

/// The steps of `1>2` or `Advanced options>a title`; `>>` stands for the character itself.
fn steps(wanted: &str) -> Vec<String> {
    const ESCAPED: &str = "\u{0}";
    wanted
        .replace(">>", ESCAPED)
        .split('>')
        .map(|step| step.replace(ESCAPED, ">"))
        .collect()
}

/// The bytes of a menu as text, without control characters: they would reach terminals and logs.
pub(super) fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.replace("\r\n", "\n")
        .chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(place: &str, title: &str, id: Option<&str>) -> Entry {
        Entry {
            place: place.into(),
            title: title.into(),
            id: id.map(Into::into),
            ..Entry::default()
        }
    }

    #[test]
    fn what_is_saved_is_as_long_as_its_text_at_least() {
        let len = |change| {
            let file = DevicePath::parse("/grubenv");
            Save { file, change }.len()
        };
        let empty = len(Change::Default(7));
        assert!(empty >= "/grubenv".len());
        let variables = vec![
            ("one".to_owned(), Some("12345".to_owned())),
            ("two".to_owned(), None),
        ];
        assert_eq!(len(Change::Environment(variables)), empty + "onetwo12345".len());
    }

    #[test]
    fn entries_are_named_by_number_id_or_title_and_through_submenus() {
        let menu = Menu {
            entries: vec![
                entry("0", "Linux", Some("simple")),
                entry("1", "More > all", Some("advanced")),
                entry("1>0", "Linux 2", Some("linux-2")),
                entry("1>1", "Linux 1", None),
                entry("2", "7", None),
            ],
            ..Menu::default()
        };
        for (wanted, index) in [
            ("0", Some(0)),
            ("Linux", Some(0)),
            ("simple", Some(0)),
            ("advanced>linux-2", Some(2)),
            ("More >> all>1", Some(3)),
            ("1>1", Some(3)),
            ("2", Some(4)),
            ("3", None),
            ("1>5", None),
            ("linux-2", None),
            ("", None),
        ] {
            assert_eq!(menu.find(wanted), index, "{wanted}");
        }
        assert_eq!((menu.entered(1), menu.entered(0), menu.entered(4)), (2, 0, 4));
    }
}
