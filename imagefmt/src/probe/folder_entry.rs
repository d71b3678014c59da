//! What a folder lists, of whichever file system.

/// The most entries of a folder that are listed.
pub(super) const LIST_LIMIT: usize = 10_000;

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderEntry {
    /// Its name, with what is not UTF-8 replaced.
    pub name: String,
    /// Whether it is a folder itself.
    pub is_folder: bool,
}
