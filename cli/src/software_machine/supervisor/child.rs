//! The step between the supervisor and QEMU: a process that dies with its parent.

use crate::software_machine::Error;
use rustix::process::Signal;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Asks the kernel to end this process with its parent, then becomes `program`. Returns only if
/// that failed. The request survives an exec, so a killed supervisor leaves no QEMU behind. The data
/// disk is as after any power cut: QEMU keeps nothing back that the machine has flushed.
pub(crate) fn become_child(program: &OsStr, arguments: &[&OsStr]) -> Error {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return Error::new(format!("cannot tie QEMU's life to its supervisor: {error}"));
    }
    let error = Command::new(program).args(arguments).exec();
    Error::new(format!("cannot run {}: {error}", program.display()))
}
