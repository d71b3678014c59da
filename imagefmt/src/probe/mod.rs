//! What lies on a disk: partition tables and file systems.
//!
//! A guest may have written every byte that is read here, so nothing is trusted: offsets are
//! checked, every allocation has a bound that does not come from the disk, chains have a length
//! limit, and the amount that is read to answer one question is limited ([`Window`]). Nothing is
//! ever mounted, and nothing is written but the bytes of a small file in their place ([`overwrite`]).
//!
//! ```text
//!  Disk ──► PartitionTable::read ──► Partition ──► Window ──► FileSystem::detect ──► FileTree::open
//!           none | MBR | GPT                       a range     "ext4", "xfs", …      paths, files
//! ```
//!
//! ext2, ext3, ext4, XFS, Btrfs and FAT can be read ([`FileTree`]); other file systems are told by their name,
//! so that a message can say what is there instead.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod btrfs;
mod crc32c;
mod error;
mod ext;
mod fat;
mod fault;
mod file_tree;
mod filesystem;
mod folder_entry;
mod gpt;
mod in_place;
mod journal;
mod kind;
mod mbr;
mod partition;
mod path;
mod signatures;
mod table;
mod window;
mod xfs;

pub use error::ProbeError;
pub use file_tree::FileTree;
pub use filesystem::{FileSystem, FileSystemKind};
pub use folder_entry::FolderEntry;
pub use in_place::overwrite;
pub use journal::Journal;
pub use partition::{Partition, PartitionKind};
pub use table::{PartitionTable, TableKind};
pub use window::Window;

#[cfg(test)]
mod tests;
