//! What can go wrong with the software machine.

use std::io;
use std::path::Path;

/// A message for people, and whose affair it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Error {
    message: String,
    code: &'static str,
}

impl Error {
    /// The host's or the machine's failure.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: "InternalError",
        }
    }

    /// What was asked for cannot be.
    pub(crate) fn of_parameter(message: impl Into<String>) -> Self {
        Self {
            code: "InvalidParameterValue",
            ..Self::new(message)
        }
    }

    /// A system call on a file.
    pub(crate) fn io(verb: &str, path: &Path, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "InsufficientVolumeCapacity",
            _ => "InternalError",
        };
        Self {
            code,
            ..Self::new(format!("cannot {verb} {}: {error}", path.display()))
        }
    }

    /// A folder that cannot be made where the user, or the default, wants it; `remedy` says how to have it elsewhere.
    pub(crate) fn of_place(folder: &Path, error: &io::Error, remedy: &str) -> Self {
        Self {
            code: "Unavailable",
            ..Self::new(format!(
                "cannot create {}: {error}: choose another place: {remedy}",
                folder.display()
            ))
        }
    }

    /// EC2's code for it.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }
}
