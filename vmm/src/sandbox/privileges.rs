//! Limits and capabilities: what the process may use up, and that it may do nothing special.

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::SandboxError;

/// Descriptors: a chain of 256 layers, several such disks, clients. It bounds what a client with
/// descriptors can make us hold.
const MOST_FILES: u64 = 4096;

/// No core dump (it would hold the guest's memory), a bounded number of descriptors.
pub(super) fn limit_resources() -> Result<(), SandboxError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none).map_err(SandboxError::step("forbid core dumps"))?;
    let now = rustix::process::getrlimit(Resource::Nofile);
    let most = now.maximum.map_or(MOST_FILES, |maximum| maximum.min(MOST_FILES));
    let files = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    rustix::process::setrlimit(Resource::Nofile, files)
        .map_err(SandboxError::step("limit the number of open files"))
}

/// Gives up every capability in every set, and with `no_new_privs` every way to get one back.
pub(super) fn drop_all() -> Result<(), SandboxError> {
    rustix::thread::set_no_new_privs(true).map_err(SandboxError::step("forbid new privileges"))?;
    let failed = SandboxError::step;
    // Kernels without ambient capabilities have none to clear.
    let _ = rustix::thread::clear_ambient_capability_set();
    for capability in CapabilitySet::all().iter() {
        // Of what is not there (EINVAL), or what may not be dropped by one who may nothing (EPERM),
        // nothing is left to take: the sets below are emptied either way.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(failed("drop all capabilities"))
}

/// Has the C library's allocator keep one arena for all threads, which mostly wait. With several it
/// reads files on its own: the number of CPUs from /sys as it makes one, the kernel's overcommit
/// policy from /proc as it shrinks one.
pub(super) fn settle_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number; called while the process has one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
