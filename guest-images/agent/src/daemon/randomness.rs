//! The guest's random numbers, seeded anew: after the machine was saved it may be one of several that go on with
//! the same generator. Kernels that know the machine's generation id do it by themselves; many are built without.

use crate::message::{Failure, FailureKind, Reply, SEED_LEN};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// `RNDRESEEDCRNG` of linux/random.h: `_IO('R', 7)`.
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

/// Mixes `bytes` into the kernel's pool, and has its generator take a new key from there at once.
pub(super) fn seed(bytes: &[u8; SEED_LEN]) -> Reply {
    match seed_at(Path::new("/dev/urandom"), bytes) {
        Ok(()) => Reply::Done,
        Err(error) => Reply::Error(Failure {
            kind: FailureKind::System,
            message: format!("the random numbers cannot be seeded: {error}"),
        }),
    }
}

fn seed_at(device: &Path, bytes: &[u8; SEED_LEN]) -> io::Result<()> {
    let mut device = OpenOptions::new().write(true).open(device)?;
    device.write_all(bytes)?;
    reseed(&device)
}

fn reseed(device: &File) -> io::Result<()> {
    // SAFETY: the request takes no argument and touches no memory of this process.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG as _) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_seeded_by_root_and_refused_to_others() {
        let is_root = rustix::process::geteuid().is_root();
        let done = seed(&[7; SEED_LEN]);
        match (is_root, done) {
            (true, Reply::Done) => {}
            (false, Reply::Error(failure)) => {
                assert!(failure.message.contains("cannot be seeded"), "{failure}")
            }
            (_, other) => panic!("as root: {is_root}, yet {other:?}"),
        }
    }

    #[test]
    fn what_is_no_random_device_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = seed_at(file.path(), &[0; SEED_LEN]).expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    }
}
