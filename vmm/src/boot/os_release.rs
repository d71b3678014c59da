//! What a system says of itself: os-release(5).
//!
//! The file is lines of `NAME=value` in a shell's quotes. Whoever owns the disk wrote it: its length is bounded, and its
//! words are one line each, without what would rearrange a terminal.

use kiln_imagefmt::probe::FileTree;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 64 << 10;

/// The longest value that is handed on, in characters. It bounds what is kept in a catalogue and printed.
const LONGEST_VALUE: usize = 256;

/// The text of an os-release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::boot) struct OsRelease(String);

impl OsRelease {
    /// That of the system whose root file system has these files, if it has one.
    pub(in crate::boot) fn read(files: &FileTree) -> Option<OsRelease> {
        let mut places = ["/etc/os-release", "/usr/lib/os-release"].into_iter();
        let text = places.find_map(|path| files.read(path, LONGEST).ok())?;
        Some(OsRelease::of(&text))
    }

    /// Any bytes are one.
    pub(in crate::boot) fn of(text: &[u8]) -> OsRelease {
        OsRelease(String::from_utf8_lossy(text).into_owned())
    }

    /// A variable's value, without quotes; none if it is not there or empty. Of several assignments the last counts, as
    /// in a shell.
    pub(in crate::boot) fn value(&self, name: &str) -> Option<String> {
        let assigned = |line: &'_ str| line.strip_prefix(name)?.strip_prefix('=').map(unquoted);
        let value = self.0.lines().rev().find_map(assigned)?;
        (!value.is_empty()).then_some(value)
    }
}

/// A value without its quotes and escapes, as long as it may be.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let in_quotes = |quote: char| {
        value
            .strip_prefix(quote)
            .map(|rest| rest.strip_suffix(quote).unwrap_or(rest))
    };
    let (value, has_escapes) = match (in_quotes('"'), in_quotes('\'')) {
        (Some(inner), _) => (inner, true),
        (None, Some(inner)) => (inner, false),
        (None, None) => (value, true),
    };
    let mut is_escaped = false;
    let characters = value.chars().filter(|c| {
        is_escaped = has_escapes && *c == '\\' && !is_escaped;
        !is_escaped
    });
    let shown = characters.filter(|c| !c.is_control() && !turns_text_around(*c));
    shown.take(LONGEST_VALUE).collect::<String>().trim().to_owned()
}

/// Whether a character changes the direction of the text around it (Unicode Standard Annex #9, section 2).
fn turns_text_around(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> Option<String> {
        OsRelease::of(text.as_bytes()).value("NAME")
    }

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        for (text, wanted) in [
            ("NAME=Debian", "Debian"),
            (
                "ID=x\nNAME=\"Debian GNU/Linux 12 (bookworm)\"\nFULL_NAME=y",
                "Debian GNU/Linux 12 (bookworm)",
            ),
            ("NAME='a \"b\" \\c'\r", "a \"b\" \\c"),
            (r#"NAME="a \"b\" \$c \\d""#, r#"a "b" $c \d"#),
            ("NAME=one\nNAME=two", "two"),
            ("NAME=\"not closed", "not closed"),
        ] {
            assert_eq!(value(text).as_deref(), Some(wanted), "{text}");
        }
        for text in ["", "NAME", "NAME=", "NAME=\"\"", "#NAME=x", "NAMES=x", " NAME=x"] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn hazard_a_systems_name_is_one_short_line_without_control_characters() {
        let text = format!(
            "NAME=\"a\x1b]0;b\x07\u{202e}c\u{85}d\"\nID={}\n",
            "x".repeat(60_000)
        );
        assert_eq!(value(&text).as_deref(), Some("a]0;bcd"));
        let id = OsRelease::of(text.as_bytes()).value("ID");
        assert_eq!(id.map(|id| id.len()), Some(LONGEST_VALUE));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hazard_bytes_of_any_kind_are_a_release(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let text = [b"ID=x\nNAME=", bytes.as_slice()].concat();
            if let Some(name) = OsRelease::of(&text).value("NAME") {
                prop_assert!(name.chars().count() <= LONGEST_VALUE && !name.chars().any(char::is_control));
            }
        }
    }
}
