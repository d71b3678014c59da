//! System calls that newer architectures never had: this is one.

/// What every thread may.
pub(crate) const COMMON: &[(libc::c_long, &str)] = &[];

/// Waiting for many descriptors.
pub(crate) const EVENTS: &[(libc::c_long, &str)] = &[];

/// Answered as if the kernel did not have them.
pub(crate) const ABSENT: &[(libc::c_long, &str)] = &[];

/// What no thread may do.
pub(crate) const FORBIDDEN: &[(libc::c_long, &str)] = &[];
