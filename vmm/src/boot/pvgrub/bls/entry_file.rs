//! One entry: a file `NAME.conf` in `loader/entries`.
//!
//! UAPI group, Boot Loader Specification (UAPI.1), "Type #1 Boot Loader Specification Entries": a
//! line is a key, blanks and a value; `initrd` and `options` may come more than once.

use std::cmp::Ordering;

use super::super::menu::{INITRD_LIMIT, readable};
use super::version;

/// The longest that all options of an entry may be together, in bytes.
const OPTIONS_LIMIT: usize = 16 << 10;

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct EntryFile {
    /// The file's name without `.conf` and without counters.
    pub(in super::super) id: String,
    pub(in super::super) title: Option<String>,
    pub(in super::super) version: Option<String>,
    pub(super) machine_id: Option<String>,
    pub(super) sort_key: Option<String>,
    pub(super) architecture: Option<String>,
    /// The kernel: `linux`, or a program for EFI, which may be a unified kernel image.
    pub(in super::super) kernel: Option<String>,
    pub(in super::super) initrds: Vec<String>,
    pub(in super::super) options: String,
    /// How often it may still be tried; none if that is not counted.
    pub(super) tries_left: Option<u32>,
}

impl EntryFile {
    /// Parses the file `name`. Every sequence of bytes is one.
    pub(in super::super) fn parse(name: &str, bytes: &[u8]) -> EntryFile {
        let (id, tries_left) = counted(strip_ending(name));
        let mut entry = EntryFile {
            id: id.into(),
            tries_left,
            ..EntryFile::default()
        };
        for line in readable(bytes).lines() {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let value = value.trim();
            let value_too = || Some(value.to_owned());
            match key {
                "title" => entry.title = value_too(),
                "version" => entry.version = value_too(),
                "machine-id" => entry.machine_id = value_too(),
                "sort-key" => entry.sort_key = value_too(),
                "architecture" => entry.architecture = value_too(),
                "linux" | "efi" | "uki" => entry.kernel = value_too(),
                "initrd" => {
                    let left = INITRD_LIMIT.saturating_sub(entry.initrds.len());
                    let files = value.split_whitespace().map(String::from);
                    entry.initrds.extend(files.take(left));
                }
                "options" if entry.options.len().saturating_add(value.len()) <= OPTIONS_LIMIT => {
                    if !entry.options.is_empty() {
                        entry.options.push(' ');
                    }
                    entry.options.push_str(value);
                }
                _ => {}
            }
        }
        entry
    }

    /// Sets the key by which it is sorted before its version.
    pub(in super::super) fn set_sort_key(&mut self, key: Option<String>) {
        self.sort_key = key;
    }

    /// Whether it is for this machine's processor.
    pub(in super::super) fn is_for_x86(&self) -> bool {
        let architecture = self.architecture.as_deref();
        architecture.is_none_or(|name| name.eq_ignore_ascii_case("x64") || name.eq_ignore_ascii_case("ia32"))
    }

    /// Whether it was tried too often without success.
    pub(super) fn is_bad(&self) -> bool {
        self.tries_left == Some(0)
    }

    /// The title, as a menu shows it.
    pub(in super::super) fn shown(&self) -> String {
        match (&self.title, &self.version) {
            (Some(title), _) => title.clone(),
            (None, Some(version)) => version.clone(),
            (None, None) => self.id.clone(),
        }
    }

    /// The order of the menu: what is to be preferred first, that is the newest. UAPI.1, "Sorting".
    pub(in super::super) fn menu_order(&self, other: &EntryFile) -> Ordering {
        let by_id = || version::compare(&other.id, &self.id);
        let bad = self.is_bad().cmp(&other.is_bad());
        let rest = match (&self.sort_key, &other.sort_key) {
            (Some(own), Some(others)) => own
                .cmp(others)
                .then_with(|| self.machine_id.cmp(&other.machine_id))
                .then_with(|| {
                    let version = |entry: &EntryFile| entry.version.clone().unwrap_or_default();
                    version::compare(&version(other), &version(self))
                })
                .then_with(by_id),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => by_id(),
        };
        bad.then(rest)
    }
}

fn strip_ending(name: &str) -> &str {
    [".conf", ".efi"]
        .iter()
        .find_map(|ending| {
            let at = name.len().checked_sub(ending.len())?;
            let (stem, last) = name.split_at_checked(at)?;
            last.eq_ignore_ascii_case(ending).then_some(stem)
        })
        .unwrap_or(name)
}

/// Splits `NAME+LEFT-DONE` or `NAME+LEFT`: how often an entry may still be tried.
fn counted(name: &str) -> (&str, Option<u32>) {
    let split = || {
        let (id, counters) = name.rsplit_once('+')?;
        let (left, done) = counters.split_once('-').unwrap_or((counters, "0"));
        let number = |digits: &str| -> Option<u32> {
            let sound = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| sound)
        };
        number(done)?;
        Some((id, Some(number(left)?)))
    };
    split().unwrap_or((name, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_as_kernel_install_writes_it_is_understood() {
        let text = b"# Boot Loader Specification type#1 entry\n\
            title      Debian GNU/Linux 12 (bookworm)\n\
            version    6.1.0-18-amd64\n\
            machine-id 0123456789abcdef0123456789abcdef\n\
            sort-key   debian\n\
            options    root=UUID=1 ro\n\
            options    quiet\n\
            linux      /0123456789abcdef0123456789abcdef/6.1.0-18-amd64/linux\n\
            initrd     /0123456789abcdef0123456789abcdef/6.1.0-18-amd64/initrd.img\n\
            initrd     /extra\n";
        let entry = EntryFile::parse("0123-6.1.0-18-amd64+3-0.conf", text);
        assert_eq!(
            (entry.id.as_str(), entry.tries_left),
            ("0123-6.1.0-18-amd64", Some(3))
        );
        assert_eq!(entry.shown(), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(entry.options, "root=UUID=1 ro quiet");
        assert_eq!(entry.initrds.len(), 2);
        assert!(entry.kernel.as_deref().unwrap().ends_with("/linux"));
    }

    #[test]
    fn counters_are_told_from_names_that_have_a_plus() {
        for (name, wanted) in [
            ("a+3.conf", ("a", Some(3))),
            ("a+3-1.efi", ("a", Some(3))),
            ("a+b+0-3.CONF", ("a+b", Some(0))),
            ("5.10+deb11.conf", ("5.10+deb11", None)),
            ("a+-1.conf", ("a+-1", None)),
            ("a+3-.conf", ("a+3-", None)),
        ] {
            let entry = EntryFile::parse(name, b"");
            assert_eq!((entry.id.as_str(), entry.tries_left), wanted, "{name}");
        }
    }

    #[test]
    fn an_entry_is_for_x86_unless_it_says_otherwise() {
        for (text, wanted) in [
            ("", true),
            ("architecture x64", true),
            ("architecture IA32", true),
            ("architecture aa64", false),
        ] {
            assert_eq!(
                EntryFile::parse("a.conf", text.as_bytes()).is_for_x86(),
                wanted,
                "{text}"
            );
        }
    }

    #[test]
    fn an_entry_without_a_title_is_shown_by_its_version_or_its_name() {
        let shown = |text: &str| EntryFile::parse("name.conf", text.as_bytes()).shown();
        assert_eq!(shown("version 6.1"), "6.1");
        assert_eq!(shown("linux /k"), "name");
    }

    #[test]
    fn hazard_options_are_taken_as_long_as_there_is_room() {
        let longest = "x".repeat(OPTIONS_LIMIT);
        let len = |text: String| EntryFile::parse("a.conf", text.as_bytes()).options.len();
        assert_eq!(len(format!("options {longest}\noptions y\n")), OPTIONS_LIMIT);
        assert_eq!(len(format!("options y\noptions {longest}\n")), 1);
    }

    #[test]
    fn the_newest_comes_first_and_what_failed_too_often_last() {
        let entry = |name: &str, text: &str| EntryFile::parse(name, text.as_bytes());
        let mut entries = [
            entry("id-5.14.0-70.el9.conf", ""),
            entry("id-0-rescue.conf", ""),
            entry("new+0-3.conf", "sort-key a\nversion 9"),
            entry("id-5.14.0-362.el9.conf", ""),
            entry("b1.conf", "sort-key b\nversion 1"),
            entry("a1.conf", "sort-key a\nversion 1"),
            entry("a10.conf", "sort-key a\nversion 10"),
        ];
        entries.sort_by(EntryFile::menu_order);
        let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "a10",
                "a1",
                "b1",
                "id-5.14.0-362.el9",
                "id-5.14.0-70.el9",
                "id-0-rescue",
                "new"
            ]
        );
    }
}
