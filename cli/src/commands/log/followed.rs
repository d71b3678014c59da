//! A log that is followed while its guest prints, by a reader that may be slow.
//!
//! When the log is full its content is copied to the former log, and then it is emptied; both files stay the same ones.
//! So it may have grown beyond what was printed of it before anybody looks again: which of the two was written last tells.

use super::{CURRENT, FORMER, PIECE, length, open, read};
use crate::failure::Failure;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where bytes are printed; it may wait for a reader.
pub(super) type Print<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Failure>;

/// How much of what was printed is remembered, to know it again in the former log.
const REMEMBERED: usize = 256;
/// Printed in the place of what nobody can have any more.
const GAP: &[u8] = b"\n[bytes are missing here: the guest printed faster than they were read]\n";

/// The log, and how much of it was printed.
#[derive(Debug)]
pub(super) struct Followed {
    current: PathBuf,
    former: PathBuf,
    /// Bytes of the current log that were printed.
    at: u64,
    /// The last of them, or else the log's first as far as they were seen: by these it is known again.
    known: Vec<u8>,
    /// When the former log was written that was printed last.
    moved: Option<SystemTime>,
}

impl Followed {
    /// The log in this folder, of which nothing was printed yet.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            current: folder.join(CURRENT),
            former: folder.join(FORMER),
            at: 0,
            known: Vec::new(),
            moved: None,
        }
    }

    /// Prints what was added, first the end of what was moved meanwhile.
    pub(super) fn more(&mut self, print: Print<'_>) -> Result<(), Failure> {
        let mut piece = vec![0; PIECE];
        loop {
            let Some(file) = open(&self.current)? else {
                return Ok(());
            };
            let bytes = read(&file, &self.current, self.at, &mut piece)?;
            // Looked at after it was read: until then it was in its place.
            if self.was_moved(&file)? {
                self.former(print)?;
                continue;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            print(bytes)?;
            if self.at == 0 {
                self.known.clear();
            }
            self.at = self.at.saturating_add(length(bytes));
            self.known.extend(bytes);
            let older = self.known.len().saturating_sub(REMEMBERED);
            self.known.drain(..older);
        }
    }

    /// Prints what the former log has beyond what was printed of it when it was the current one. The next to be moved may
    /// replace it meanwhile.
    pub(super) fn former(&mut self, print: Print<'_>) -> Result<(), Failure> {
        let (printed, known) = (std::mem::take(&mut self.at), std::mem::take(&mut self.known));
        let Some(file) = open(&self.former)? else {
            return Ok(());
        };
        // That none was moved between the looks is known by its time.
        let (is, next) = loop {
            let is = look_at(&file, &self.former)?;
            let next = self.beginning()?;
            if look_at(&file, &self.former)?.modified().ok() == is.modified().ok() {
                break (is, next);
            }
        };
        self.moved = is.modified().ok();
        self.known = next;
        let mut piece = vec![0; PIECE];
        let mut at = printed;
        if !self.is_at(&file, printed.saturating_sub(length(&known)), &known)? {
            // Several were moved since: all of this one is new.
            print(GAP)?;
            at = 0;
        }
        while at < is.len() {
            let bytes = read(&file, &self.former, at, &mut piece)?;
            let is_replaced = look_at(&file, &self.former)?.modified().ok() != self.moved;
            if is_replaced || bytes.is_empty() {
                return print(GAP);
            }
            print(bytes)?;
            at = at.saturating_add(length(bytes));
        }
        Ok(())
    }

    /// Whether the log was moved since something of it was printed. While it is being moved the former one is the newer.
    fn was_moved(&self, current: &File) -> Result<bool, Failure> {
        let current = look_at(current, &self.current)?;
        if current.len() < self.at {
            return Ok(true);
        }
        let Some(former) = open(&self.former)? else {
            return Ok(false);
        };
        let former = look_at(&former, &self.former)?.modified().ok();
        Ok(former != self.moved && current.modified().ok() > former)
    }

    /// The first bytes of the current log.
    fn beginning(&self) -> Result<Vec<u8>, Failure> {
        let mut begins = vec![0; REMEMBERED];
        let count = match open(&self.current)? {
            Some(file) => read(&file, &self.current, 0, &mut begins)?.len(),
            None => 0,
        };
        begins.truncate(count);
        Ok(begins)
    }

    /// Whether the former log has these bytes there.
    fn is_at(&self, former: &File, at: u64, bytes: &[u8]) -> Result<bool, Failure> {
        let mut found = vec![0; bytes.len()];
        Ok(read(former, &self.former, at, &mut found)? == bytes)
    }
}

fn look_at(file: &File, path: &Path) -> Result<Metadata, Failure> {
    file.metadata()
        .map_err(|error| Failure::new(format!("cannot look at {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A log in a folder, and what was printed of it.
    struct Reader {
        folder: tempfile::TempDir,
        log: Followed,
        seen: String,
    }

    impl Reader {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let log = Followed::new(folder.path());
            let seen = String::new();
            Self { folder, log, seen }
        }

        /// Writes a file, as if `second` seconds had passed since the first was written.
        fn write(&self, name: &str, second: u64, text: &str) {
            write(self.folder.path(), name, second, text);
        }

        fn more(&mut self) {
            let seen = &mut self.seen;
            let mut print = |bytes: &[u8]| {
                seen.push_str(&String::from_utf8_lossy(bytes));
                Ok(())
            };
            self.log.more(&mut print).expect("it can be read");
        }
    }

    fn write(folder: &Path, name: &str, second: u64, text: &str) {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("room");
        let file = File::options()
            .append(true)
            .open(path)
            .expect("it was just written");
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + second);
        file.set_modified(then).expect("its time is set");
    }

    fn gap() -> String {
        String::from_utf8_lossy(GAP).into_owned()
    }

    #[test]
    fn a_followed_log_is_whole_across_a_rotation() {
        let mut reader = Reader::new();
        reader.more();
        reader.write(CURRENT, 0, "one\ntwo\n");
        reader.more();
        reader.more();
        // As the machine does it: content moved, file emptied, gone on.
        reader.write(FORMER, 1, "one\ntwo\nthree\n");
        reader.write(CURRENT, 1, "four\n");
        reader.more();
        assert_eq!(reader.seen, "one\ntwo\nthree\nfour\n");
    }

    #[test]
    fn a_log_that_has_outgrown_what_a_slow_reader_had_of_it_is_whole_across_a_rotation() {
        let mut reader = Reader::new();
        reader.write(CURRENT, 0, "one\n");
        reader.more();
        reader.write(FORMER, 1, "one\ntwo\n");
        reader.write(CURRENT, 2, "three is longer\n");
        reader.more();
        reader.write(FORMER, 3, "three is longer\nfour\n");
        reader.write(CURRENT, 4, "five is longer than all of that\n");
        reader.more();
        reader.more();
        assert_eq!(
            reader.seen,
            "one\ntwo\nthree is longer\nfour\nfive is longer than all of that\n"
        );
    }

    #[test]
    fn a_log_that_is_just_being_moved_is_printed_once() {
        let mut reader = Reader::new();
        reader.write(CURRENT, 0, "one\n");
        reader.more();
        reader.write(CURRENT, 1, "one\ntwo\n");
        reader.write(FORMER, 1, "on");
        reader.more();
        reader.write(FORMER, 2, "one\ntwo\n");
        reader.more();
        reader.write(CURRENT, 3, "three\n");
        reader.more();
        assert_eq!(reader.seen, "one\ntwo\nthree\n");
    }

    #[test]
    fn what_was_moved_several_times_before_it_was_read_is_told_to_be_missing() {
        let mut reader = Reader::new();
        reader.write(CURRENT, 0, "one\n");
        reader.more();
        // "one" and "two" were moved, each replaced by the next.
        reader.write(FORMER, 2, "two\nthree\n");
        reader.write(CURRENT, 3, "four\n");
        reader.more();
        assert_eq!(reader.seen, format!("one\n{}two\nthree\nfour\n", gap()));
    }

    /// What is seen if, while the first piece of the former log is printed, both logs are written again.
    fn seen_while_moved([former, current]: [&str; 2], second: u64, then: [&str; 2]) -> String {
        let mut reader = Reader::new();
        reader.write(FORMER, 0, former);
        reader.write(CURRENT, 1, current);
        let folder = reader.folder.path().to_owned();
        let mut seen = String::new();
        let mut print = |bytes: &[u8]| {
            if seen.is_empty() {
                write(&folder, FORMER, second, then[0]);
                write(&folder, CURRENT, second + 1, then[1]);
            }
            seen.push_str(&String::from_utf8_lossy(bytes));
            Ok(())
        };
        reader.log.former(&mut print).expect("it can be read");
        reader.log.more(&mut print).expect("it can be read");
        seen
    }

    #[test]
    fn what_is_replaced_while_its_reader_is_waited_for_is_told_to_be_missing() {
        let seen = seen_while_moved([&"x".repeat(2 * PIECE), "y"], 2, ["yes\n", "and on\n"]);
        assert_eq!(seen, format!("{}{}yes\nand on\n", "x".repeat(PIECE), gap()));
    }

    #[test]
    fn a_log_that_came_and_went_while_the_reader_of_the_one_before_was_waited_for_is_told_to_be_missing() {
        let seen = seen_while_moved(["one\n", "two"], 4, ["three\n", "four\n"]);
        assert_eq!(seen, format!("one\n{}three\nfour\n", gap()));
    }
}
