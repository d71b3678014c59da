//! The step between the supervisor and QEMU: a process that dies with its parent.

use crate::software_machine::Error;
use rustix::process::Signal;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Asks the kernel to end this process with `parent`, then becomes `program`. Returns only if
/// that failed. The request survives an exec, so a killed supervisor leaves no QEMU behind. The data
/// disk is as after any power cut: QEMU keeps nothing back that the machine has flushed.
pub(crate) fn become_child(parent: &OsStr, program: &OsStr, arguments: &[&OsStr]) -> Error {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return Error::new(format!("cannot tie QEMU's life to its supervisor: {error}"));
    }
    // A parent that was gone before ends nothing.
    let has = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if parent != OsStr::new(&has.to_string()) {
        return Error::new("QEMU is not started: its supervisor is gone");
    }
    let error = Command::new(program).args(arguments).exec();
    Error::new(format!("cannot run {}: {error}", program.display()))
}
