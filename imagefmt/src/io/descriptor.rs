//! What only the system can tell about a descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// The name under which the file was opened, as `/proc` knows it; `None` where there is no `/proc`, or the
/// file has been deleted.
pub(crate) fn file_name(file: &File) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let name = link.to_str()?;
    (name.starts_with('/') && !name.ends_with(" (deleted)")).then(|| name.to_string())
}

/// One `fcntl` for the lock of one byte; the kind of lock that the system answers.
pub(crate) fn byte_lock(
    file: RawFd,
    command: libc::c_int,
    kind: libc::c_int,
    at: libc::off_t,
) -> io::Result<libc::c_int> {
    // SAFETY: `flock` is plain integers; all zeroes is a valid value (and `l_pid` must be 0 for OFD locks).
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = at;
    lock.l_len = 1;
    // SAFETY: the pointer is to a live `flock`, which is what these commands take.
    match unsafe { libc::fcntl(file, command, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(libc::c_int::from(lock.l_type)),
    }
}
