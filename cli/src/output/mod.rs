//! What goes to stdout, and how: the result of a command and nothing else. What else there is to say goes to stderr.

mod documents;
mod format;
mod guest_text;
mod table;

pub(crate) use format::Format;
pub(crate) use guest_text::{GuestText, PLAIN};
pub(crate) use table::Table;

use crate::failure::Failure;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// A result that can be printed in every form.
pub(crate) trait Shown: Serialize {
    /// What it is about: one id a line.
    fn ids(&self) -> Vec<String>;
    /// For people.
    fn table(&self) -> Table;
}

/// Prints a result.
pub(crate) fn print<T: Shown>(format: Format, result: &T) -> Result<(), Failure> {
    match format {
        Format::Table => write(&result.table().to_string()),
        Format::Id => write(&lines(result.ids())),
        Format::Json => document(result),
    }
}

/// Prints a document as the aws command prints it: indented by four.
pub(crate) fn document<T: Serialize>(result: &T) -> Result<(), Failure> {
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
    result
        .serialize(&mut serializer)
        .map_err(|e| Failure::new(format!("cannot print the result: {e}")))?;
    text.push(b'\n');
    bytes(&text)
}

/// Prints one line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

/// A number of things, in words: `1 processor`, `2 processors`.
pub(crate) fn count(number: impl std::fmt::Display, thing: &str) -> String {
    match number.to_string().as_str() {
        "1" => format!("1 {thing}"),
        number => format!("{number} {thing}s"),
    }
}

fn lines(ids: Vec<String>) -> String {
    ids.into_iter().map(|id| id + "\n").collect()
}

fn write(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// Writes to stdout. A reader that went away (`kiln list | head -1`) wants no more; that is no failure.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write the result: {error}")))
        }
        _ => Ok(()),
    }
}

/// A line for stderr: `warning: …`. There may be words of a guest's or an image's in it, which neither move the cursor
/// nor begin a line of their own.
pub(crate) fn remark(kind: &str, text: &str) -> String {
    let parts = text.split('\n').map(str::trim).filter(|part| !part.is_empty());
    let line = parts.collect::<Vec<_>>().join(" ");
    format!("{kind}: {}\n", table::printable(&line))
}

/// Whether somebody may still read what goes to stdout: who prints without end asks now and then, also while there is
/// nothing to print.
pub(crate) fn is_read() -> bool {
    let out = std::io::stdout();
    // That the other end is gone is told unasked.
    let mut polled = [PollFd::new(&out, PollFlags::empty())];
    let gone = rustix::event::poll(&mut polled, Some(&Timespec::default()));
    !matches!(gone, Ok(1..))
}

/// Writes to stderr, in one piece, since others write there, too. What nobody can be told (a full disk, a reader that
/// went away) keeps a command from nothing.
pub(crate) fn aside(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hazard_a_guests_words_are_one_line_without_control_characters() {
        for (words, shown) in [
            ("a\x1b]0;x\x07\nerror: y\n", "a\u{fffd}]0;x\u{fffd} error: y"),
            ("\u{9b}2J\rb\u{85}c", "\u{fffd}2J\u{fffd}b\u{fffd}c"),
        ] {
            assert_eq!(remark("warning", words), format!("warning: {shown}\n"));
        }
    }

    #[test]
    fn one_thing_is_no_several_things() {
        assert_eq!(count(1, "processor"), "1 processor");
        assert_eq!(count(0_usize, "command"), "0 commands");
        assert_eq!(count(21, "layer"), "21 layers");
    }
}
