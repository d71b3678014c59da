//! QEMU's image locks, so that `qemu-img` refuses a file in use and we refuse one that QEMU uses.
//!
//! QEMU (`block/file-posix.c`, `RAW_LOCK_PERM_BASE` and `RAW_LOCK_SHARED_BASE`) marks what it does with a file
//! by *shared* locks on single bytes: byte 100 + n says "I use permission n", byte 200 + n says "nobody else
//! may use permission n". After taking its own it looks for the opposite ones of others. They are open file
//! description locks: they live as long as the open file, across threads and passed descriptors.

use std::os::fd::AsRawFd;

use crate::error::DiskError;
use crate::io::Host;

/// QEMU's permissions, by bit number.
const CONSISTENT_READ: u8 = 0;
const WRITE: u8 = 1;
const RESIZE: u8 = 3;

const USED: libc::off_t = 100;
const UNSHARED: libc::off_t = 200;

/// Locks a file that is only read: others may read, nobody may write.
pub(crate) fn lock_reader(host: &Host) -> Result<(), DiskError> {
    lock(host, &[CONSISTENT_READ], &[WRITE, RESIZE])
}

/// Locks a file that is written: nobody else may write, or read as if it did not change.
pub(crate) fn lock_writer(host: &Host) -> Result<(), DiskError> {
    lock(host, &[CONSISTENT_READ, WRITE, RESIZE], &[WRITE, RESIZE])
}

/// Turns a writer's lock into a reader's: the file will not change any more.
pub(crate) fn downgrade(host: &Host) {
    let Some(file) = host.file() else { return };
    for permission in [WRITE, RESIZE] {
        // An unlock of a byte that is locked cannot fail; where it does, the file stays locked a while longer.
        let _ = file_lock(
            file,
            libc::F_OFD_SETLK,
            libc::F_UNLCK,
            USED + libc::off_t::from(permission),
        );
    }
}

/// Gives back every lock. Closing the file alone does not do it at once: a process that another thread is just
/// starting has the same open file until it executes its program.
pub(crate) fn unlock(host: &Host) {
    let Some(file) = host.file() else { return };
    for base in [USED, UNSHARED] {
        for permission in [CONSISTENT_READ, WRITE, RESIZE] {
            // An unlock cannot fail, but where locks cannot be had at all; then there is nothing to give back.
            let at = base + libc::off_t::from(permission);
            let _ = file_lock(file, libc::F_OFD_SETLK, libc::F_UNLCK, at);
        }
    }
}

fn lock(host: &Host, used: &[u8], unshared: &[u8]) -> Result<(), DiskError> {
    let locked = take(host, used, unshared);
    if locked.is_err() {
        unlock(host);
    }
    locked
}

fn take(host: &Host, used: &[u8], unshared: &[u8]) -> Result<(), DiskError> {
    let Some(file) = host.file() else { return Ok(()) };
    let byte = |base: libc::off_t, permission: &u8| base + libc::off_t::from(*permission);
    let ours = used
        .iter()
        .map(|p| byte(USED, p))
        .chain(unshared.iter().map(|p| byte(UNSHARED, p)));
    for at in ours {
        match file_lock(file, libc::F_OFD_SETLK, libc::F_RDLCK, at) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOLCK) => return Ok(()),
            Err(_) => return Err(in_use(host, "its locks cannot be taken")),
        }
    }
    for permission in used {
        if is_locked(file, byte(UNSHARED, permission)) {
            return Err(in_use(host, "the other one allows no second user"));
        }
    }
    for permission in unshared {
        if is_locked(file, byte(USED, permission)) {
            return Err(in_use(host, "the other one writes to it"));
        }
    }
    Ok(())
}

fn in_use(host: &Host, what: &'static str) -> DiskError {
    DiskError::InUse {
        path: host.name().to_string(),
        what,
    }
}

fn is_locked(file: &std::fs::File, at: libc::off_t) -> bool {
    matches!(file_lock(file, libc::F_OFD_GETLK, libc::F_WRLCK, at), Ok(kind) if kind != libc::F_UNLCK)
}

fn file_lock(
    file: &std::fs::File,
    command: libc::c_int,
    kind: libc::c_int,
    at: libc::off_t,
) -> std::io::Result<libc::c_int> {
    crate::io::byte_lock(file.as_raw_fd(), command, kind, at)
}

#[cfg(test)]
mod tests {
    use crate::{Access, RawDisk};

    #[test]
    fn a_closed_disk_is_free_though_a_starting_process_still_has_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let open = || file.reopen().unwrap();
        let first = open();
        let inherited = first.try_clone().unwrap();
        let disk = RawDisk::open(first, Access::ReadWrite).unwrap();
        assert!(RawDisk::open(open(), Access::ReadWrite).is_err());
        drop(disk);
        RawDisk::open(open(), Access::ReadWrite).unwrap();
        drop(inherited);
    }
}
