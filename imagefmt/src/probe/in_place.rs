//! The one thing that is ever written: the bytes of a small file, where they lie.
//!
//! GRUB keeps an environment block that way: it writes the blocks of a file that is there, and
//! nothing else of the file system. That is sound only if the bytes certainly are the file's, so
//! they are read where they are about to be written, and compared.

use super::{FileTree, ProbeError, Window};

/// The longest file that is written, in bytes.
const LIMIT: u64 = 64 << 10;

/// Writes `content` in place of the bytes of the file at `path`, which stays as long as it is and where
/// it is. `files` must have been opened on `window`. Nothing is flushed.
///
/// It is refused where the file system's journal was applied in memory only, where the file is not in one
/// piece, and where its bytes are not kept as they are (inline, encrypted, compressed, shared).
pub fn overwrite(window: &Window, files: &FileTree, path: &str, content: &[u8]) -> Result<(), ProbeError> {
    let refused = |reason: &str| {
        Err(ProbeError::InPlace {
            path: path.into(),
            reason: reason.into(),
        })
    };
    let before = files.read(path, LIMIT)?;
    if before.len() != content.len() {
        return refused("its length would change");
    }
    let [(offset, len)] = *files.pieces(path)?.as_slice() else {
        return refused("it does not lie in one piece");
    };
    if len != content.len() as u64 {
        return refused("its length on the disk is another");
    }
    if window.read_up_to(offset, content.len())? != before {
        return refused("its bytes do not lie where its file system says");
    }
    window.write(offset, content)
}

#[cfg(test)]
mod tests;
