//! What a file is, by its content.

use super::foreign::{HEAD, Mark, REACH, TAIL};

/// qcow2's mark, without its version.
const QCOW2: &[u8] = b"QFI\xfb";

/// How much of a file is looked at to call it text.
const TEXT: usize = 4096;

/// What a file was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// No mark of any format: the bytes of a disk.
    Raw,
    /// qcow2.
    Qcow2,
    /// Something that is not taken.
    Foreign {
        /// What it is.
        found: &'static str,
        /// What its owner can do; empty if there is nothing.
        remedy: &'static str,
    },
}

/// How many bytes from the start [`detect`] wants to see.
pub(super) const HEAD_LEN: usize = REACH;
/// How many bytes from the end.
pub(super) const TAIL_LEN: usize = 512;

/// Says what a file is that begins with `head` and whose last 512 bytes are `tail`.
pub fn detect(head: &[u8], tail: &[u8]) -> Detected {
    let foreign = |mark: &Mark| Detected::Foreign {
        found: mark.found,
        remedy: mark.remedy,
    };
    if let Some(mark) = HEAD.iter().find(|mark| mark.is_in(head)) {
        return foreign(mark);
    }
    if head.starts_with(QCOW2) {
        return Detected::Qcow2;
    }
    if let Some(mark) = TAIL.iter().find(|mark| mark.is_in(tail)) {
        return foreign(mark);
    }
    if is_text(head.get(..TEXT).unwrap_or(head)) {
        return Detected::Foreign {
            found: "text",
            remedy: "",
        };
    }
    Detected::Raw
}

impl Mark {
    fn is_in(&self, bytes: &[u8]) -> bool {
        bytes
            .get(self.offset..)
            .is_some_and(|rest| rest.starts_with(self.magic))
    }
}

/// Whether all of it can be read by people: a sector of a disk has other bytes among its first.
fn is_text(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // The last character may be cut in two.
        Err(error) if error.valid_up_to().saturating_add(4) > bytes.len() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !valid.is_empty()
        && valid
            .chars()
            .all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\x0c'))
}
