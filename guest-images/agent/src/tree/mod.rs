//! Files and folders on their way to a guest and back: a tar stream, which a guest's own `tar` unpacks or makes.
//!
//! ```text
//!  host: pack ── exec ──> guest: tar -x          one file, or one folder and all below it
//!  host: unpack <── exec ── guest: tar -c        beside its place; then it is settled there
//! ```
//!
//! The format is what GNU tar and busybox write by themselves: POSIX.1-1988's headers, with GNU's records for long
//! names, or those of POSIX.1-2001. A guest's stream is not to be trusted: it can name nothing but what is below the
//! place that was given for it, and follow no link there.

mod pack;
mod settle;
#[cfg(test)]
mod tests;
mod unpack;

pub use pack::{PackError, measure, pack};
pub use settle::settle;
pub use unpack::{UnpackError, unpack};

use std::path::PathBuf;

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Files, folders and symbolic links.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// What is neither and was left out (a FIFO, a socket, a device), as far as is worth telling.
    pub left_out: Vec<PathBuf>,
}

impl Moved {
    /// So many of those that were left out are remembered.
    const WORTH_TELLING: usize = 16;

    fn leave_out(&mut self, path: PathBuf) {
        if self.left_out.len() < Self::WORTH_TELLING {
            self.left_out.push(path);
        }
    }
}
