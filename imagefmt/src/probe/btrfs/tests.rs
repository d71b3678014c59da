//! Btrfs file systems as btrfs-progs, a kernel and a writer of these tests make them, and as a hostile guest would.

mod files;
mod fixtures;
mod hostile;
mod items;
mod nodes;
mod packed;
mod subvolumes;
mod superblocks;
mod writer;
mod written;
