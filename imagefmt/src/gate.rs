//! Which backing names may be opened at all: only bare file names of the same folder.

use std::path::{Path, PathBuf};

/// Why a chain of names is not followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// A file cannot be opened.
    #[error("{path}: {reason}")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

/// The files of the chain whose top is `top`, from the bottom to the top. Reads nothing but headers.
pub fn resolve_chain(top: &Path) -> Result<Vec<PathBuf>, GateError> {
    Err(GateError::Unusable { path: top.display().to_string(), reason: "not yet built".into() })
}
