//! The software machine: a small QEMU guest whose emulated processor has SVM, so that `/dev/kvm` in
//! it is real. For hosts without hardware virtualization.
//!
//! ```text
//!  kiln run …  ──lease──>  supervisor  ──owns──>  QEMU (TCG)
//!      │                     │ Mux                 ├─ /kiln  the store, on a disk of its own
//!      └──── agent.sock ─────┘═══virtio-serial═══> ├─ /host  this host's files (9p)
//!                                                  └─ kiln-agent -> kiln run … -> kiln-vmm -> guest
//! ```
//!
//! One belongs to each `KILN_HOME` that is used this way and lives in its folder `machine`. A command
//! takes a lease, which starts the machine if need be, and runs itself in there ([`forward`]).

mod agent;
mod counter;
mod data_disk;
mod error;
pub(crate) mod forward;
mod image;
pub(crate) mod inside;
mod layout;
mod modules;
mod qemu;
mod qmp;
mod readiness;
mod saved;
mod settings;
mod start;
pub(crate) mod supervisor;
mod wire;

pub(crate) use error::Error;
pub(crate) use readiness::{exists, readiness};
pub(crate) use settings::Settings;
pub(crate) use start::{Lease, delete, lease, settle, status, stop};
pub(crate) use wire::Status;

use rustix::io::FdFlags;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// One of our own programs that runs in guests: linked statically.
pub(crate) fn own_program(name: &str) -> Result<PathBuf, Error> {
    Ok(image::Programs::find()?.path(name))
}

/// The folder of the cache in which the packages of a software machine are unpacked, firmware among them; it may not be
/// there.
pub(crate) fn unpacked_packages() -> PathBuf {
    image::Base::link(&crate::home::cache())
}

/// Sets this system's clock, in a machine that slept in a file for a while: nanoseconds since 1970, UTC.
pub(crate) fn set_clock(nanos: &OsStr) -> Result<(), Error> {
    let nanos: i64 = nanos
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::new(format!("{} is no time", nanos.display())))?;
    let now = rustix::time::Timespec {
        tv_sec: nanos.div_euclid(1_000_000_000),
        tv_nsec: nanos.rem_euclid(1_000_000_000),
    };
    rustix::time::clock_settime(rustix::time::ClockId::Realtime, now)
        .map_err(|e| Error::new(format!("cannot set the clock: {e}")))
}

/// A program of the host, also where the PATH of ordinary users does not look.
fn program(name: &str) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
        .ok_or_else(|| Error::new(format!("this host has no {name}")))
}

/// Starts a program that gets these descriptors, too, under the same numbers.
fn spawn_with(command: &mut Command, handed: &[BorrowedFd<'_>]) -> std::io::Result<Child> {
    let set = |flags| {
        let mut all = handed.iter();
        all.try_for_each(|fd| rustix::io::fcntl_setfd(fd, flags))
    };
    set(FdFlags::empty())?;
    let child = command.spawn();
    set(FdFlags::CLOEXEC)?;
    child
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}
