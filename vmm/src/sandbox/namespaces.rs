//! Namespaces of its own and an empty root: no network, no processes' IPC, no files.
//!
//! Nothing here is needed for the guest's confinement as long as the filters hold (they allow no
//! call that opens or makes anything); it is the second wall. Hosts may refuse user namespaces to
//! ordinary users, so each part that fails becomes a note in the log.

use std::fs;
use std::io;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;

use super::Notes;

/// Places that could be covered by the empty root; what it hides is hidden from us alone.
const COVERED: [&str; 4] = ["/var/empty", "/tmp", "/run", "/proc"];

/// Enters them, as far as this host lets.
pub(super) fn enter(notes: &mut Notes) {
    let apart = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let user = unshare(apart | UnshareFlags::NEWUSER).and_then(|()| {
        map_ids(uid, gid)
            .map_err(|error| notes.add("map the ids of its user namespace", &error))
            .or(Ok(()))
    });
    if let Err(error) = user {
        // Root needs no user namespace for the others, and gives up its power a step later.
        if let Err(error) = unshare(apart).map_err(|_| error) {
            notes.add("have namespaces of its own", &error);
            return;
        }
    }
    if let Err(error) = empty_root() {
        notes.add("leave the file system's root", &error);
    }
}

impl Notes {
    fn add(&mut self, what: &str, error: &io::Error) {
        self.0.push(format!(
            "this host does not let the VMM {what} ({error}); the system call filters confine it all the same"
        ));
    }
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the flags separate no descriptor table (CLONE_FILES), whose owner could be surprised.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Maps the own ids to themselves (user_namespaces(7)): peers of the own user are recognised.
fn map_ids(uid: u32, gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Makes an empty, read-only file system the root and lets go of the old one (pivot_root(2)).
fn empty_root() -> io::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mut covered = Err(io::ErrorKind::NotFound.into());
    for place in COVERED {
        covered = rustix::mount::mount("none", place, "tmpfs", flags, c"mode=0555,size=4k")
            .map_err(io::Error::from)
            .and_then(|()| Ok(rustix::process::chdir(place)?));
        if covered.is_ok() {
            break;
        }
    }
    covered?;
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => {
            // Both roots are stacked here now; the old one is the upper.
            rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        }
        // The first root of all (an initramfs) cannot be pivoted away from: cover it instead.
        Err(_) => {
            rustix::mount::mount_move(".", "/")?;
            rustix::process::chroot(".")?;
        }
    }
    rustix::process::chdir("/")?;
    Ok(())
}
