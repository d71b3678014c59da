//! XFS file systems as xfsprogs and a kernel make them, and as a hostile guest would.

mod files;
mod fixtures;
mod folders;
mod hostile;
mod logs;
