//! Files as flat, growing arrays of bytes, and the caller's memory that is moved to and from them.
//!
//! All `unsafe` of this crate is in this folder.

mod descriptor;
mod file;
mod segment;
mod storage;

pub(crate) use descriptor::{byte_lock, file_name};
pub use file::FileStorage;
pub use segment::{Segment, Span};
pub use storage::{Host, Storage};
