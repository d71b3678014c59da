//! The small parent process of a machine: it takes the lock, starts the VMM, waits, and writes
//! the exit record.

pub mod ready;
