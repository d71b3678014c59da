//! System calls that newer architectures never had, or that this one makes in an older way, with their names for messages: for
//! the sandbox.

/// Asking for a link's target: answered as if the kernel did not have it.
pub(crate) const ABSENT: &[(libc::c_long, &str)] = &[(libc::SYS_readlink, "SYS_readlink")];

/// What no thread may do.
pub(crate) const FORBIDDEN: &[(libc::c_long, &str)] = &[
    (libc::SYS_open, "SYS_open"),
    (libc::SYS_stat, "SYS_stat"),
    (libc::SYS_lstat, "SYS_lstat"),
    (libc::SYS_access, "SYS_access"),
    (libc::SYS_unlink, "SYS_unlink"),
    (libc::SYS_rename, "SYS_rename"),
    (libc::SYS_fork, "SYS_fork"),
    (libc::SYS_vfork, "SYS_vfork"),
    (libc::SYS_dup2, "SYS_dup2"),
    (libc::SYS_pipe, "SYS_pipe"),
    (libc::SYS_accept, "SYS_accept"),
    (libc::SYS_getdents, "SYS_getdents"),
    (libc::SYS_arch_prctl, "SYS_arch_prctl"),
    (libc::SYS_poll, "SYS_poll"),
    (libc::SYS_epoll_wait, "SYS_epoll_wait"),
    (libc::SYS_readlinkat, "SYS_readlinkat"),
];
