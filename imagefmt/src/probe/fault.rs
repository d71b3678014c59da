//! Why something on a file system cannot be read, before it is known which path was asked for.

use super::ProbeError;

/// Why something cannot be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The disk gives no bytes.
    Disk(ProbeError),
    /// What it gives makes no sense.
    Damaged(&'static str),
}

impl From<ProbeError> for Fault {
    fn from(error: ProbeError) -> Fault {
        Fault::Disk(error)
    }
}

impl Fault {
    /// The error of whoever asked for `path`.
    pub(super) fn of(self, path: &str) -> ProbeError {
        match self {
            Fault::Disk(error) => error,
            Fault::Damaged(reason) => ProbeError::Path {
                path: path.into(),
                reason: reason.into(),
            },
        }
    }

    /// The error of whoever asked for the whole file system, of this `kind`.
    pub(super) fn of_all(self, kind: &'static str) -> ProbeError {
        match self {
            Fault::Disk(error) => error,
            Fault::Damaged(reason) => ProbeError::Damaged {
                kind,
                reason: reason.into(),
            },
        }
    }
}
