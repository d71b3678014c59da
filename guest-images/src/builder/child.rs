//! Processes of a build that leave nothing behind, however the build ends.
//!
//! As root, mmdebstrap mounts proc, sys and parts of /dev into its tree, in the name space that it
//! is started in; killed, it leaves them there, where the next `rm -r` would descend into them. So
//! it gets a name space of its own, whose mounts end with its last process. And a build's
//! processes do not outlive the command that asked for it.

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Arranges that the command ends with this thread and, as root, that its mounts are its own.
pub(super) fn confine(command: &mut Command) {
    // SAFETY: confined only makes system calls (see there).
    unsafe { command.pre_exec(confined) };
}

/// Runs in the child between fork and exec: system calls only, no allocation.
fn confined() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if rustix::process::geteuid().is_root() {
        // SAFETY: only the mount name space is left; no descriptor of the child depends on it.
        // Where it is forbidden (in a container) the build may still go well.
        let own = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) };
        if own.is_ok() {
            mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        }
    }
    Ok(())
}
