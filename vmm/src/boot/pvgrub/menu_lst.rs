//! The menu of GRUB legacy: `menu.lst`, also spelled `grub.conf`.
//!
//! GRUB 0.97 manual, chapters 14 (commands) and 15 (menu). A line is a command; `title` begins an
//! entry, and what stands before the first `title` concerns the menu. A line that begins with `#`
//! is a comment: so is the block between `## ## Start Default Options ##` and its end, in which
//! Debian's tools keep their own settings.

use super::device::{Device, DevicePath};

/// The most entries of a menu; more are not looked at. Real menus have a dozen.
const ENTRY_LIMIT: usize = 1024;

/// The most initramfs files of an entry.
const INITRD_LIMIT: usize = 32;

/// The most fallbacks.
const FALLBACK_LIMIT: usize = 64;

/// Commands that boot something else than a Linux kernel.
const FOREIGN: &[&str] = &[
    "chainloader",
    "configfile",
    "reboot",
    "halt",
    "multiboot",
    "linux16",
];

/// The entry that is booted unless the user chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// This one, from 0.
    Entry(usize),
    /// The one whose number is in the file `default` beside the menu.
    Saved,
}

/// A parsed menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// The entry to boot.
    pub default: Default,
    /// The entries to try after that, in this order.
    pub fallback: Vec<usize>,
    /// A root that is set for all entries.
    pub root: Option<Device>,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// An entry of a menu.
#[derive(Debug, Clone, PartialEq, Eq, std::default::Default)]
pub struct Entry {
    /// Its title.
    pub title: String,
    /// Where its files are; none for the menu's own place.
    pub root: Option<Device>,
    /// The kernel's file.
    pub kernel: Option<DevicePath>,
    /// The rest of the `kernel` line: the command line.
    pub arguments: String,
    /// The initramfs files.
    pub initrds: Vec<DevicePath>,
    /// Whether it loads modules, as multiboot kernels need.
    pub has_modules: bool,
    /// A command that boots something else.
    pub foreign: Option<&'static str>,
}

/// Parses a menu. Every sequence of bytes is one: what is not understood is passed over, as GRUB
/// does with commands that do not concern booting.
pub fn parse(bytes: &[u8]) -> Menu {
    let text = readable(bytes);
    let mut menu = Menu {
        default: Default::Entry(0),
        fallback: Vec::new(),
        root: None,
        entries: Vec::new(),
    };
    for line in logical_lines(&text) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (command, rest) = command(line);
        if command == "title" {
            if menu.entries.len() >= ENTRY_LIMIT {
                break;
            }
            menu.entries.push(Entry {
                title: rest.into(),
                ..Entry::default()
            });
        } else if let Some(entry) = menu.entries.last_mut() {
            entry.apply(command, rest);
        } else {
            menu.apply(command, rest);
        }
    }
    menu
}

impl Menu {
    /// A command before the first entry.
    fn apply(&mut self, command: &str, rest: &str) {
        match command {
            "default" if rest.split_whitespace().next() == Some("saved") => self.default = Default::Saved,
            "default" => self.default = Default::Entry(leading_number(rest).unwrap_or(0)),
            "fallback" => {
                let numbers = rest.split([' ', '\t', ',']).filter_map(leading_number);
                self.fallback = numbers.take(FALLBACK_LIMIT).collect();
            }
            _ => {
                if let Some(root) = root(command, rest) {
                    self.root = Some(root);
                }
            }
        }
    }
}

impl Entry {
    fn apply(&mut self, command: &str, rest: &str) {
        match command {
            "kernel" | "linux" => {
                let (file, arguments) = kernel(rest);
                self.kernel = file;
                self.arguments = arguments.into();
            }
            // GRUB keeps what was loaded last.
            "initrd" => {
                self.initrds = rest
                    .split_whitespace()
                    .take(INITRD_LIMIT)
                    .map(DevicePath::parse)
                    .collect();
            }
            "module" | "modulenounzip" => self.has_modules = true,
            _ => {
                if let Some(root) = root(command, rest) {
                    self.root = Some(root);
                } else if let Some(foreign) = FOREIGN.iter().find(|foreign| **foreign == command) {
                    self.foreign = Some(foreign);
                }
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
pub(super) fn leading_number(word: &str) -> Option<usize> {
    let word = word.trim_start();
    let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    word.get(..end)?.parse().ok()
}

/// The bytes as text, without control characters: they would reach terminals and logs.
fn readable(bytes: &[u8]) -> String {
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

/// The lines, those that end in a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    text.replace("\\\n", "").lines().map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hd(partition: Option<u32>) -> Device {
        Device::Disk { disk: 0, partition }
    }

    #[test]
    fn the_menu_that_debian_writes_is_understood() {
        let menu = parse(
            b"# menu.lst - See: grub(8)\n\
              default\t\t0\n\
              timeout\t\t0\n\
              hiddenmenu\n\
              ## ## Start Default Options ##\n\
              ## default kernel options\n\
              # kopt=root=/dev/xvda ro\n\
              # default=1\n\
              ## ## End Default Options ##\n\
              \n\
              title\t\tDebian GNU/Linux, kernel 6.1.0-1-amd64\n\
              root\t\t(hd0)\n\
              kernel\t\t/boot/vmlinuz-6.1.0-1-amd64 root=/dev/xvda ro  console=hvc0\n\
              initrd\t\t/boot/initrd.img-6.1.0-1-amd64\n\
              \n\
              title\t\tDebian GNU/Linux, kernel 6.1.0-1-amd64 (single-user mode)\n\
              root\t\t(hd0)\n\
              kernel\t\t/boot/vmlinuz-6.1.0-1-amd64 root=/dev/xvda ro single\n",
        );
        assert_eq!(menu.default, Default::Entry(0));
        assert_eq!(menu.entries.len(), 2);
        let first = &menu.entries[0];
        assert_eq!(first.title, "Debian GNU/Linux, kernel 6.1.0-1-amd64");
        assert_eq!(first.root, Some(hd(None)));
        assert_eq!(
            first.kernel,
            Some(DevicePath::parse("/boot/vmlinuz-6.1.0-1-amd64"))
        );
        assert_eq!(first.arguments, "root=/dev/xvda ro  console=hvc0");
        assert_eq!(
            first.initrds,
            [DevicePath::parse("/boot/initrd.img-6.1.0-1-amd64")]
        );
        assert_eq!(menu.entries[1].initrds, []);
    }

    #[test]
    fn the_menu_of_amazon_linux_is_understood() {
        let menu = parse(
            b"# created by imagebuilder\r\ndefault=1\r\nfallback 0 2\r\ntimeout=0\r\nhiddenmenu\r\n\
              title Amazon Linux (3.2)\r\nroot=(hd0,0)\r\n\
              kernel --no-mem-option (hd0,0)/boot/vmlinuz root=LABEL=/ console=hvc0\r\n\
              initrd /boot/initramfs.img /boot/second.img\r\n",
        );
        assert_eq!(
            (menu.default, menu.fallback.as_slice()),
            (Default::Entry(1), &[0, 2][..])
        );
        let entry = &menu.entries[0];
        assert_eq!(entry.root, Some(hd(Some(0))));
        assert_eq!(entry.kernel, Some(DevicePath::parse("(hd0,0)/boot/vmlinuz")));
        assert_eq!(entry.arguments, "root=LABEL=/ console=hvc0");
        assert_eq!(entry.initrds.len(), 2);
    }

    #[test]
    fn saved_defaults_global_roots_and_continued_lines_are_understood() {
        let menu = parse(b"default saved\nroot (hd0,1)\ntitle a\\\nb\nuuid AB-CD\nkernel /k\n");
        assert_eq!(menu.default, Default::Saved);
        assert_eq!(menu.root, Some(hd(Some(1))));
        assert_eq!(menu.entries[0].title, "ab");
        assert_eq!(menu.entries[0].root, Some(Device::FileSystem("ab-cd".into())));
    }

    #[test]
    fn entries_that_boot_something_else_say_so() {
        let menu = parse(b"title w\nchainloader +1\ntitle x\nkernel /xen.gz\nmodule /vmlinuz\n");
        assert_eq!(menu.entries[0].foreign, Some("chainloader"));
        assert!(menu.entries[1].has_modules);
    }

    #[test]
    fn hazard_control_characters_do_not_reach_the_terminal() {
        let menu = parse(b"title \x1b]0;owned\x07\nkernel /k a\0b\n");
        assert!(!menu.entries[0].title.contains(char::is_control));
        assert!(!menu.entries[0].arguments.contains('\0'));
    }

    proptest::proptest! {
        #[test]
        fn hazard_every_sequence_of_bytes_is_a_menu(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
            let menu = parse(&bytes);
            proptest::prop_assert!(menu.entries.len() <= ENTRY_LIMIT);
        }

        #[test]
        fn hazard_lines_of_menu_words_are_a_menu(lines in proptest::collection::vec(
            "(title|root|kernel|initrd|default|fallback|uuid|#|module)?[ =\t]?(\\(hd[0-9]{0,20},?[0-9a-z]{0,4}\\)?)?[/a-z +-]{0,9}", 0..60)
        ) {
            parse(lines.join("\n").as_bytes());
        }
    }
}
