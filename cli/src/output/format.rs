//! The form of a result: `--output`.

/// The form of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// EC2's own documents
    Json,
    /// Ids only, one a line
    Id,
}
