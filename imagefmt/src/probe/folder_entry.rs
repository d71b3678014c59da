//! What a folder lists, of whichever file system.

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderEntry {
    /// Its name, with what is not UTF-8 replaced.
    pub name: String,
    /// Whether it is a folder itself.
    pub is_folder: bool,
}
