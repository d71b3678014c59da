//! What a file system that was not unmounted comes to.

/// What became of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Journal {
    /// There was nothing in it to apply, or there is none.
    Clean,
    /// It was applied, in memory.
    Replayed {
        /// Committed transactions found in it.
        transactions: u32,
        /// Blocks whose newer version was in it.
        blocks: usize,
    },
    /// It could not be applied; files show as they were before.
    Ignored {
        /// Why.
        reason: String,
    },
}
