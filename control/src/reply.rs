//! What a call answers with: EC2's document, and what people should be told beside it.

use serde::Serialize;

/// A document and warnings.
#[derive(Clone, Debug, Serialize)]
pub struct Reply<T> {
    /// EC2's document.
    #[serde(flatten)]
    pub document: T,
    /// One line each, without `warning:` before it.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

impl<T> Reply<T> {
    /// A document with nothing to warn of.
    pub fn new(document: T) -> Reply<T> {
        Reply {
            document,
            warnings: Vec::new(),
        }
    }

    /// A document with warnings.
    pub fn with(document: T, warnings: Vec<String>) -> Reply<T> {
        Reply { document, warnings }
    }
}
