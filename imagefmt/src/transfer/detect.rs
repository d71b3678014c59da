//! What a file is, by its content.

use super::foreign::{HEAD, Mark, REACH, TAIL};
use super::tar;

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

/// Says what a file is that begins with `head` and whose last 512 bytes are `tail`. A disk that is an installer's medium is
/// told as one though it has a partition table, too. Of an archive only what is in `head` counts.
pub fn detect(head: &[u8], tail: &[u8]) -> Detected {
    let foreign = |mark: &Mark| Detected::Foreign {
        found: mark.found,
        remedy: mark.remedy,
    };
    if let Some(mark) = HEAD.iter().find(|mark| mark.is_in(head)) {
        return foreign(mark);
    }
    let archive = tar::detect(&mut |at| head.get(usize::try_from(at).ok()?..)?.first_chunk().copied());
    if let Some(archive) = archive {
        return archive;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hazard_bytes_of_any_kind_are_told_or_a_disk(
            head in proptest::collection::vec(any::<u8>(), 0..1024),
            tail in proptest::collection::vec(any::<u8>(), 0..600),
            nth in 0..HEAD.len(),
            cut in 0..64_usize,
        ) {
            let _ = detect(&head, &tail);
            // And with a mark, whole or cut off, in the midst of it.
            let Mark { offset, magic, .. } = HEAD[nth];
            let mut marked = head;
            marked.resize(marked.len().max(offset + magic.len()), 0);
            marked[offset..offset + magic.len()].copy_from_slice(magic);
            prop_assert_ne!(detect(&marked, &tail), Detected::Raw);
            marked.truncate(marked.len().saturating_sub(cut));
            let _ = detect(&marked, &tail);
        }
    }
}
