//! What a check of the store found.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Was wrong and has been put right, or costs nothing but space.
    Warning,
    /// Data is missing or damaged.
    Error,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// A word for programs, such as `LayerMissing`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What and which.
    pub message: String,
    /// The way out, or what was done about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

/// The document of a check: `{"Findings": […]}`; empty if all is well.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Findings {
    /// What was found.
    pub findings: Vec<Finding>,
    /// How many layers were read.
    #[serde(skip)]
    pub layers: usize,
}

impl Findings {
    /// Whether something is missing or damaged.
    pub fn has_errors(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }
}

/// What a collection took away.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Collected {
    /// The layers that nothing named.
    pub layers: Vec<String>,
    /// How many bytes of the disk they had.
    pub bytes: u64,
}
