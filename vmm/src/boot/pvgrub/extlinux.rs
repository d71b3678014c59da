//! The menu of Syslinux and Extlinux, which U-Boot reads, too.
//!
//! Syslinux wiki, "Config" and "Menu"; U-Boot, `doc/develop/distro.rst`. A line is a keyword in any
//! case and its value; `LABEL` begins an entry. Paths are taken from the menu's own folder.

use super::device::DevicePath;
use super::menu::{Candidate, ENTRY_LIMIT, Entry, INITRD_LIMIT, Menu, Obstacle, readable};

/// The most files that are read in place of an `INCLUDE`.
const INCLUDE_LIMIT: usize = 32;

/// The deepest nesting of files.
const DEPTH_LIMIT: usize = 8;

/// The longest line that is looked at, in bytes: several times the longest command line. What stands before
/// the first entry is repeated in each.
const LINE_LIMIT: usize = 16 << 10;

/// Keywords of entries that boot something else than a Linux kernel.
const FOREIGN: &[&str] = &[
    "boot",
    "bss",
    "com32",
    "comboot",
    "config",
    "fdimage",
    "localboot",
    "pxe",
];

/// Parses a menu that lies in `folder`; `read` gives the files that it includes.
pub(super) fn parse(bytes: &[u8], folder: &str, read: &mut dyn FnMut(&str) -> Option<Vec<u8>>) -> Menu {
    let mut parser = Parser {
        folder,
        read,
        included: 0,
        menu: Menu::default(),
        append: String::new(),
        default: None,
        menu_default: None,
        on_timeout: None,
        on_error: None,
    };
    parser.file(bytes, 0);
    parser.finish()
}

struct Parser<'a> {
    folder: &'a str,
    read: &'a mut dyn FnMut(&str) -> Option<Vec<u8>>,
    included: usize,
    menu: Menu,
    /// `APPEND` before the first entry: for those without their own.
    append: String,
    default: Option<String>,
    menu_default: Option<usize>,
    on_timeout: Option<String>,
    on_error: Option<String>,
}

impl Parser<'_> {
    fn file(&mut self, bytes: &[u8], depth: usize) {
        for line in readable(bytes).lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line.len() > LINE_LIMIT {
                continue;
            }
            let (keyword, value) = keyword(line);
            match keyword.as_str() {
                "menu" => match self::keyword(value) {
                    (include, file) if include == "include" => self.include(file, depth),
                    (word, value) => self.menu_line(&word, value),
                },
                "include" => self.include(value, depth),
                _ => self.line(&keyword, value),
            }
        }
    }

    fn include(&mut self, value: &str, depth: usize) {
        let Some(name) = value.split_whitespace().next() else {
            return;
        };
        let depth = depth.saturating_add(1);
        self.included = self.included.saturating_add(1);
        if self.included > INCLUDE_LIMIT || depth > DEPTH_LIMIT {
            self.menu.notes.truncate(INCLUDE_LIMIT);
            self.menu
                .notes
                .push(format!("{name} is not included: there are too many"));
            return;
        }
        let path = self.path(name).path;
        match (self.read)(&path) {
            Some(bytes) => self.file(&bytes, depth),
            None => self
                .menu
                .notes
                .push(format!("{path} is to be included, and cannot be read")),
        }
    }

    fn menu_line(&mut self, word: &str, value: &str) {
        let index = self.menu.entries.len().checked_sub(1);
        let entry = self.menu.entries.last_mut();
        match (word, entry) {
            // A caret marks the key that selects the entry.
            ("label", Some(entry)) => entry.title = value.replacen('^', "", 1),
            ("default", Some(_)) => self.menu_default = index,
            _ => {}
        }
    }

    fn line(&mut self, keyword: &str, value: &str) {
        match keyword {
            "default" => self.default = Some(value.into()),
            "ontimeout" => self.on_timeout = Some(value.into()),
            "onerror" => self.on_error = Some(value.into()),
            "label" if self.menu.entries.len() < ENTRY_LIMIT => self.menu.entries.push(Entry {
                place: self.menu.entries.len().to_string(),
                title: value.into(),
                id: Some(value.into()),
                // An entry without a kernel boots the file that its label names.
                arguments: self.append.clone(),
                ..Entry::default()
            }),
            "append" if self.menu.entries.is_empty() => self.append = value.into(),
            _ => self.entry_line(keyword, value),
        }
    }

    fn entry_line(&mut self, keyword: &str, value: &str) {
        let folder = self.folder;
        let Some(entry) = self.menu.entries.last_mut() else {
            return;
        };
        match keyword {
            "kernel" | "linux" => {
                entry.kernel = value.split_whitespace().next().map(|file| path(folder, file))
            }
            "initrd" => entry.initrds = files(folder, value),
            "append" if value == "-" => entry.arguments.clear(),
            "append" => entry.arguments = value.into(),
            _ if FOREIGN.contains(&keyword) => entry.obstacle = Some(Obstacle::Command(keyword.into())),
            _ => {}
        }
    }

    fn path(&self, file: &str) -> DevicePath {
        path(self.folder, file)
    }

    fn finish(self) -> Menu {
        let mut menu = self.menu;
        for entry in &mut menu.entries {
            let mut words: Vec<&str> = entry.arguments.split_whitespace().collect();
            if let Some(files) = words.iter().rev().find_map(|word| word.strip_prefix("initrd=")) {
                if entry.initrds.is_empty() {
                    entry.initrds = self::files(self.folder, files);
                }
                words.retain(|word| !word.starts_with("initrd="));
                entry.arguments = words.join(" ");
            }
        }
        let labelled = |label: &Option<String>| {
            let label = label.as_ref()?.split_whitespace().next()?;
            let mut entries = menu.entries.iter();
            entries.position(|entry| entry.id.as_deref() == Some(label))
        };
        let (on_timeout, default) = (labelled(&self.on_timeout), labelled(&self.default));
        let chosen = match (on_timeout, self.menu_default, default) {
            (Some(index), ..) => Some((index, format!("entry {index} is the menu's ONTIMEOUT"))),
            (_, Some(index), _) => Some((index, format!("entry {index} is marked MENU DEFAULT"))),
            (_, _, Some(index)) => Some((index, format!("entry {index} is the menu's DEFAULT"))),
            _ if menu.entries.is_empty() => None,
            _ => {
                let why = match &self.default {
                    Some(label) => format!("the menu's DEFAULT, {label}, is no entry: the first is booted"),
                    None => "entry 0 is the first, and no default is set".into(),
                };
                Some((0, why))
            }
        };
        let on_error =
            labelled(&self.on_error).map(|index| (index, format!("entry {index} is the menu's ONERROR")));
        let order = chosen.into_iter().chain(on_error);
        menu.order = order.map(|(index, why)| Candidate { index, why }).collect();
        menu
    }
}

/// The keyword of a line in small letters, and its value.
fn keyword(line: &str) -> (String, &str) {
    let (keyword, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    (keyword.to_ascii_lowercase(), value.trim())
}

fn path(folder: &str, file: &str) -> DevicePath {
    DevicePath {
        device: None,
        path: if file.starts_with('/') {
            file.into()
        } else {
            format!("{folder}/{file}")
        },
    }
}

/// The initramfs files of a list with commas.
fn files(folder: &str, list: &str) -> Vec<DevicePath> {
    let files = list.split([',', ' ', '\t']).filter(|file| !file.is_empty());
    files.map(|file| path(folder, file)).take(INITRD_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<Vec<u8>> {
        None
    }

    #[test]
    fn the_menu_that_u_boot_menu_writes_is_understood() {
        let text = b"## /boot/extlinux/extlinux.conf\n##\n\ndefault l0\nmenu title U-Boot menu\nprompt 1\ntimeout 50\n\n\n\
            label l0\n\tmenu label Debian GNU/Linux 12 (bookworm) 6.1.0-18-amd64\n\tlinux /boot/vmlinuz-6.1.0-18-amd64\n\
            \tinitrd /boot/initrd.img-6.1.0-18-amd64\n\tfdtdir /usr/lib/linux-image-6.1.0-18-amd64/\n\t\n\
            \tappend root=UUID=1 ro quiet\n\n\
            label l0r\n\tmenu label Debian GNU/Linux 12 (bookworm) 6.1.0-18-amd64 (rescue target)\n\
            \tlinux /boot/vmlinuz-6.1.0-18-amd64\n\tappend root=UUID=1 ro single\n";
        let menu = parse(text, "/boot/extlinux", &mut none);
        assert_eq!(menu.order.len(), 1);
        assert_eq!(
            (menu.order[0].index, menu.order[0].why.as_str()),
            (0, "entry 0 is the menu's DEFAULT")
        );
        let entry = &menu.entries[0];
        assert_eq!(entry.title, "Debian GNU/Linux 12 (bookworm) 6.1.0-18-amd64");
        assert_eq!(
            entry.kernel,
            Some(DevicePath::parse("/boot/vmlinuz-6.1.0-18-amd64"))
        );
        assert_eq!(
            entry.initrds,
            [DevicePath::parse("/boot/initrd.img-6.1.0-18-amd64")]
        );
        assert_eq!(entry.arguments, "root=UUID=1 ro quiet");
        assert_eq!(menu.entries.len(), 2);
    }

    #[test]
    fn the_menu_of_alpine_is_understood() {
        let text = b"# Generated by update-extlinux 6.04_pre1-r15\nDEFAULT menu.c32\nPROMPT 0\nMENU TITLE Alpine/Linux Boot Menu\n\
            MENU HIDDEN\nMENU AUTOBOOT Alpine will be booted automatically in # seconds.\nTIMEOUT 10\n\
            LABEL lts\n  MENU LABEL Linux lts\n  LINUX vmlinuz-lts\n  INITRD initramfs-lts\n  APPEND root=UUID=2 rootfstype=ext4\n\
            LABEL virt\n  MENU DEFAULT\n  MENU LABEL Linux ^virt\n  LINUX vmlinuz-virt\n  INITRD initramfs-virt\n  APPEND root=UUID=2\n\n\
            MENU SEPARATOR\n";
        let menu = parse(text, "/boot", &mut none);
        assert_eq!(menu.order[0].why, "entry 1 is marked MENU DEFAULT");
        assert_eq!(
            (menu.entries[1].place.as_str(), menu.entries[1].title.as_str()),
            ("1", "Linux virt")
        );
        assert_eq!(
            menu.entries[0].kernel,
            Some(DevicePath::parse("/boot/vmlinuz-lts"))
        );
    }

    #[test]
    fn old_menus_name_their_initramfs_among_the_arguments() {
        let text =
            b"append ro\nontimeout b x\nonerror c\ndefault a\nlabel a\nkernel k\nlabel b\nkernel ../k\n\
            append initrd=i1,/i2 root=/dev/sda1\nlabel c\nlocalboot 0\nlabel d\nkernel k\nappend -\ntext help\n";
        let menu = parse(text, "/syslinux", &mut none);
        let order: Vec<usize> = menu.order.iter().map(|candidate| candidate.index).collect();
        assert_eq!(order, [1, 2]);
        assert_eq!(menu.entries[0].arguments, "ro");
        assert_eq!(menu.entries[1].arguments, "root=/dev/sda1");
        assert_eq!(
            menu.entries[1].initrds,
            [DevicePath::parse("/syslinux/i1"), DevicePath::parse("/i2")]
        );
        assert_eq!(
            menu.entries[2].obstacle,
            Some(Obstacle::Command("localboot".into()))
        );
        assert_eq!(menu.entries[3].arguments, "");
        assert_eq!(menu.entries[3].obstacle, None, "other words are none");
        assert_eq!(menu.entries[3].title, "d", "the label is what is shown");
    }

    #[test]
    fn a_default_that_is_no_entry_is_told() {
        let why = |text: &[u8]| parse(text, "", &mut none).order[0].why.clone();
        let gone = why(b"default l9\nlabel l0\nlinux /k\n");
        assert_eq!(gone, "the menu's DEFAULT, l9, is no entry: the first is booted");
        let none = why(b"label l0\nlinux /k\n");
        assert_eq!(none, "entry 0 is the first, and no default is set");
    }

    #[test]
    fn included_files_are_read_in_their_place_and_a_missing_one_is_noted() {
        let mut read = |path: &str| (path == "/x/more.cfg").then(|| b"label b\nlinux /b\n".to_vec());
        let menu = parse(
            b"default b\nlabel a\nlinux /a\nMENU INCLUDE more.cfg\ninclude none.cfg\n",
            "/x",
            &mut read,
        );
        assert_eq!((menu.entries.len(), menu.order[0].index), (2, 1));
        assert_eq!(menu.notes, ["/x/none.cfg is to be included, and cannot be read"]);
    }

    #[test]
    fn hazard_menus_and_their_lines_have_limits() {
        let labels: String = (0..ENTRY_LIMIT + 10).map(|n| format!("label {n}\n")).collect();
        let menu = parse(labels.as_bytes(), "", &mut none);
        assert_eq!(menu.entries.len(), ENTRY_LIMIT);
        let longest = "x".repeat(LINE_LIMIT - "append ".len());
        for (line, len) in [
            (format!("append {longest}"), longest.len()),
            (format!("append {longest}x"), 0),
        ] {
            let menu = parse(format!("label a\n{line}\n").as_bytes(), "", &mut none);
            assert_eq!(menu.entries[0].arguments.len(), len);
        }
        let files = "initrd ".to_owned() + &"/i,".repeat(INITRD_LIMIT + 1);
        let menu = parse(format!("label a\n{files}\n").as_bytes(), "", &mut none);
        assert_eq!(menu.entries[0].initrds.len(), INITRD_LIMIT);
    }

    #[test]
    fn hazard_files_are_included_eight_deep_and_thirty_two_in_all() {
        let mut read = |path: &str| {
            let nth: usize = path.trim_start_matches('/').parse().unwrap();
            Some(format!("label {nth}\ninclude {}\n", nth + 1).into_bytes())
        };
        let menu = parse(b"include 1\n", "", &mut read);
        assert_eq!(menu.entries.len(), DEPTH_LIMIT);
        assert_eq!(menu.notes, ["9 is not included: there are too many"]);
        let text = "include 1\n".repeat(INCLUDE_LIMIT + 2);
        let menu = parse(text.as_bytes(), "", &mut |_| Some(b"label x\n".to_vec()));
        assert_eq!(menu.entries.len(), INCLUDE_LIMIT);
        assert_eq!(menu.notes.len(), 2);
    }

    #[test]
    fn hazard_a_menu_that_includes_itself_ends() {
        let text = b"include self\ninclude self\nlabel a\n";
        let menu = parse(text, "", &mut |_| Some(text.to_vec()));
        assert!(menu.entries.len() <= INCLUDE_LIMIT + 1);
    }

    proptest::proptest! {
        #[test]
        fn hazard_every_sequence_of_extlinux_words_is_a_menu(lines in proptest::collection::vec(
            "(label|menu|default|LINUX|initrd|append|include|ontimeout|kernel)?[ \t]?(default|label|a|b)?[/a-z=, -]{0,9}", 0..40)
        ) {
            let menu = parse(lines.join("\n").as_bytes(), "/", &mut none);
            for candidate in &menu.order {
                proptest::prop_assert!(candidate.index < menu.entries.len());
            }
        }
    }
}
