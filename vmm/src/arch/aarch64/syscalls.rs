//! System calls that newer architectures never had: this is one.

/// Asking for a link's target: answered as if the kernel did not have it.
pub(crate) const ABSENT: &[(libc::c_long, &str)] = &[(libc::SYS_readlinkat, "SYS_readlinkat")];

/// What no thread may do.
pub(crate) const FORBIDDEN: &[(libc::c_long, &str)] = &[];
