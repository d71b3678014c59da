//! What a guest printed, for a person's terminal: text and colours, and nothing that would have the terminal do or say
//! something else.
//!
//! A terminal answers some sequences (`ESC [ 6 n`: where is the cursor?) as if its user had typed, to whatever program reads
//! it next: the user's shell. Others change its title, its clipboard or its character set. Who wants them sits at the guest's
//! console; a log is only read. Sequences are those of ECMA-48.

use anstyle_parse::{Params, Parser, Perform};

/// The end of a colour.
pub(crate) const PLAIN: &[u8] = b"\x1b[0m";

/// A filter of a stream: sequences may be cut anywhere between two pieces.
#[derive(Debug, Default)]
pub(crate) struct GuestText {
    parser: Parser,
    passed: Passed,
}

/// What may be shown.
#[derive(Debug, Default)]
struct Passed {
    text: Vec<u8>,
    is_coloured: bool,
}

impl GuestText {
    /// What may be shown of these bytes, which follow those before.
    pub(crate) fn of(&mut self, bytes: &[u8]) -> Vec<u8> {
        for byte in bytes {
            // No sequence goes beyond its line: one that its guest never ends would hide all that follows.
            if *byte == b'\n' {
                self.parser = Parser::default();
            }
            self.parser.advance(&mut self.passed, *byte);
        }
        std::mem::take(&mut self.passed.text)
    }

    /// What ends the text, if a colour of the guest's is left.
    pub(crate) fn end(&mut self) -> &'static [u8] {
        if std::mem::take(&mut self.passed.is_coloured) {
            PLAIN
        } else {
            b""
        }
    }
}

impl Perform for Passed {
    fn print(&mut self, c: char) {
        // Those of 8 bits begin sequences as well: U+009B is ESC [.
        if !c.is_control() {
            let mut encoded = [0; 4];
            self.text.extend(c.encode_utf8(&mut encoded).bytes());
        }
    }

    fn execute(&mut self, byte: u8) {
        if matches!(byte, b'\n' | b'\r' | b'\t' | b'\x08') {
            self.text.push(byte);
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: u8) {
        if action != b'm' || ignore || !intermediates.is_empty() {
            return;
        }
        let words: Vec<String> = params
            .iter()
            .map(|parts| parts.iter().map(u16::to_string).collect::<Vec<_>>().join(":"))
            .collect();
        self.text.extend(format!("\x1b[{}m", words.join(";")).bytes());
        self.is_coloured = words.iter().any(|word| word != "0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(bytes: &[u8]) -> String {
        String::from_utf8(GuestText::default().of(bytes)).expect("text")
    }

    #[test]
    fn text_and_colours_are_shown_as_they_are() {
        for text in [
            "a\tb\r\nc\n",
            "\x1b[1;32m  OK  \x1b[0m Grüße, 世界",
            "\x1b[38;5;208mx",
        ] {
            assert_eq!(shown(text.as_bytes()), text);
        }
    }

    #[test]
    fn hazard_nothing_that_a_terminal_would_answer_or_do_is_left() {
        for sequence in [
            &b"\x1b[6n"[..],
            b"\x1b[c",
            b"\x1b[>c",
            b"\x1b[?25l",
            b"\x1b[2J",
            b"\x1b[>4;1m",
            b"\x1bc",
            b"\x1b(0",
            b"\x1bZ",
            b"\x05",
            b"\x07",
            b"\x0e",
            b"\x1b]0;title\x07",
            b"\x1b]52;c;cm0gLXJm\x1b\\",
            b"\x1bP+q544e\x1b\\",
            b"\x1b_x\x1b\\",
            b"\xc2\x9b6n",
            b"\xc2\x9d0;x\x07",
        ] {
            let whole = [b"a", sequence, b"b"].concat();
            let left = shown(&whole);
            let is_harmless = |c: char| !c.is_control();
            assert!(left.chars().all(is_harmless), "{sequence:?}: {left:?}");
            assert!(left.starts_with('a'), "{sequence:?}: {left:?}");
        }
        assert_eq!(shown(b"a\x1b[6nb"), "ab");
    }

    #[test]
    fn hazard_a_sequence_that_never_ends_hides_no_more_than_its_line() {
        for begun in ["\x1b]0;x", "\x1bPx", "\x1b_x", "\x1b[1;", "\x1b"] {
            let left = shown(format!("a{begun}\nthe next line\n").as_bytes());
            assert_eq!(left, "a\nthe next line\n", "{begun:?}");
        }
    }

    #[test]
    fn a_colour_that_is_left_at_the_end_is_ended() {
        let mut text = GuestText::default();
        text.of(b"\x1b[31mred");
        assert_eq!((text.end(), text.end()), (PLAIN, &b""[..]));
        text.of(b"\x1b[31mred\x1b[0m \x1b[1m\x1b[m");
        assert_eq!(text.end(), b"");
    }

    proptest! {
        #[test]
        fn hazard_any_bytes_in_any_pieces_leave_text_and_colours(bytes: Vec<u8>, at: prop::sample::Index) {
            let (before, after) = bytes.split_at(at.index(bytes.len() + 1));
            let mut text = GuestText::default();
            let mut left = text.of(before);
            left.extend(text.of(after));
            prop_assert_eq!(&left, &GuestText::default().of(&bytes));
            let left = String::from_utf8(left).expect("text");
            for part in left.split('\x1b').skip(1) {
                prop_assert!(part.starts_with('[') && part.trim_start_matches(|c: char| "[:;".contains(c) || c.is_ascii_digit()).starts_with('m'));
            }
            prop_assert!(!left.chars().any(|c| c.is_control() && !"\n\r\t\x08\x1b".contains(c)));
        }
    }
}
