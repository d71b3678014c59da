//! Which system calls each kind of thread needs, in groups that say what for.

use super::ThreadKind;
use crate::arch::native::syscalls as old;

/// A group of system calls, each with its name for messages.
type Group = &'static [(libc::c_long, &'static str)];

macro_rules! group {
    ($(#[$doc:meta])* $name:ident: $($call:ident)*) => {
        $(#[$doc])*
        const $name: Group = &[$((libc::$call, stringify!($call))),*];
    };
}

group! {
    /// Every thread: its memory, its locks, its stop, the clock (read by a system call where the
    /// TSC is not to be trusted), eventfds, and the end.
    COMMON: SYS_read SYS_write SYS_readv SYS_writev SYS_close SYS_futex SYS_ppoll
        SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_brk
        SYS_clock_gettime SYS_clock_nanosleep SYS_nanosleep SYS_gettimeofday SYS_sched_yield
        SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack SYS_restart_syscall
        SYS_gettid SYS_getpid SYS_exit SYS_exit_group SYS_getrandom
        SYS_sched_getaffinity SYS_set_robust_list SYS_rseq
}

group! {
    /// Open files, by descriptor: disks, logs.
    FILES: SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2 SYS_pwritev2 SYS_lseek
        SYS_fsync SYS_fdatasync SYS_fallocate SYS_ftruncate SYS_fstat
}

group! {
    /// Waiting for many descriptors, and being woken.
    EVENTS: SYS_eventfd2 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_timerfd_create
        SYS_timerfd_settime
}

group! {
    /// Connections that others made to our sockets. Nothing here makes a socket or connects one.
    SOCKETS: SYS_accept4 SYS_recvmsg SYS_sendmsg SYS_recvfrom SYS_sendto SYS_shutdown
        SYS_getsockopt SYS_getpeername SYS_geteuid
}

group! {
    /// Starting threads, which then narrow themselves; and waiting for signals by hand.
    THREADS: SYS_seccomp SYS_rt_sigtimedwait
}

group! {
    /// The parent's: waiting, the link to its child, and the exit record's place in the instance's folder.
    RECORD: SYS_wait4 SYS_recvfrom SYS_sendto SYS_openat SYS_unlinkat SYS_renameat
}

/// Calls that are allowed with some arguments only; `filter` has the conditions.
const CONDITIONAL: Group = &[
    (libc::SYS_ioctl, "SYS_ioctl"),
    (libc::SYS_fcntl, "SYS_fcntl"),
    (libc::SYS_statx, "SYS_statx"),
    (libc::SYS_newfstatat, "SYS_newfstatat"),
    (libc::SYS_prctl, "SYS_prctl"),
    (libc::SYS_tgkill, "SYS_tgkill"),
    (libc::SYS_clone, "SYS_clone"),
    (libc::SYS_clone3, "SYS_clone3"),
    (libc::SYS_readlinkat, "SYS_readlinkat"),
];

group! {
    /// What no thread may do; here for their names.
    FORBIDDEN: SYS_openat SYS_openat2 SYS_socket SYS_socketpair SYS_connect SYS_bind SYS_listen
        SYS_execve SYS_execveat SYS_kill SYS_tkill SYS_ptrace SYS_process_vm_readv
        SYS_process_vm_writev SYS_unlinkat SYS_renameat SYS_renameat2 SYS_linkat SYS_symlinkat
        SYS_mkdirat SYS_mknodat SYS_fchmodat SYS_fchownat SYS_fchmod SYS_fchown
        SYS_faccessat SYS_faccessat2 SYS_getdents64 SYS_mount SYS_umount2 SYS_pivot_root
        SYS_chroot SYS_unshare SYS_setns SYS_setuid SYS_setgid SYS_setresuid SYS_setresgid
        SYS_capset SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_io_uring_setup
        SYS_io_uring_enter SYS_keyctl SYS_add_key SYS_request_key SYS_memfd_create SYS_pidfd_open
        SYS_pidfd_getfd SYS_pidfd_send_signal SYS_rt_sigaction SYS_prlimit64 SYS_dup SYS_dup3
        SYS_pipe2 SYS_setsockopt SYS_getsockname SYS_uname SYS_sysinfo SYS_getuid
        SYS_getgid SYS_getegid SYS_getppid SYS_wait4 SYS_waitid SYS_copy_file_range SYS_sendfile
        SYS_splice SYS_sync SYS_syncfs SYS_sync_file_range SYS_flock SYS_statfs SYS_fstatfs
        SYS_getcwd SYS_chdir SYS_fchdir SYS_membarrier SYS_mlock SYS_mlock2 SYS_msync SYS_mincore
        SYS_sched_setaffinity SYS_sched_setscheduler SYS_setpriority SYS_getrusage
}

/// The unconditional calls of `kind`.
pub(super) fn of(kind: ThreadKind) -> Vec<libc::c_long> {
    let groups: &[Group] = match kind {
        ThreadKind::Process => &[COMMON, FILES, EVENTS, SOCKETS, THREADS, old::COMMON, old::EVENTS],
        ThreadKind::Main => &[COMMON, FILES, EVENTS, THREADS, old::COMMON, old::EVENTS],
        ThreadKind::Vcpu => &[COMMON, FILES, EVENTS, old::COMMON],
        ThreadKind::Block => &[COMMON, FILES, EVENTS, old::COMMON, old::EVENTS],
        ThreadKind::Console => &[COMMON, FILES, EVENTS, SOCKETS, old::COMMON, old::EVENTS],
        ThreadKind::Rng => &[COMMON, old::COMMON, old::EVENTS],
        ThreadKind::Control => &[COMMON, FILES, EVENTS, SOCKETS, old::COMMON, old::EVENTS],
        ThreadKind::Parent => &[COMMON, FILES, RECORD, old::COMMON],
    };
    groups
        .iter()
        .flat_map(|group| group.iter().map(|&(call, _)| call))
        .collect()
}

/// The name of system call `number` on this architecture, as manual pages have it.
pub fn name(number: u32) -> Option<&'static str> {
    let number = libc::c_long::from(number);
    [
        COMMON,
        FILES,
        EVENTS,
        SOCKETS,
        THREADS,
        CONDITIONAL,
        FORBIDDEN,
        old::COMMON,
        old::EVENTS,
        old::FORBIDDEN,
    ]
    .into_iter()
    .flatten()
    .find(|&&(call, _)| call == number)
    .and_then(|&(_, name)| name.strip_prefix("SYS_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_a_vmm() -> impl Iterator<Item = ThreadKind> {
        ThreadKind::ALL
            .into_iter()
            .filter(|&kind| kind != ThreadKind::Parent)
    }

    #[test]
    fn no_thread_of_a_vmm_may_open_make_or_run_anything() {
        for kind in of_a_vmm() {
            for &(call, name) in FORBIDDEN.iter().chain(old::FORBIDDEN) {
                assert!(!of(kind).contains(&call), "{name} is allowed to {}", kind.name());
            }
        }
    }

    #[test]
    fn the_process_may_what_any_thread_may() {
        for kind in of_a_vmm() {
            for call in of(kind) {
                assert!(
                    of(ThreadKind::Process).contains(&call),
                    "{call} of {}",
                    kind.name()
                );
            }
        }
    }

    #[test]
    fn a_call_has_its_manual_pages_name() {
        assert_eq!(name(u32::try_from(libc::SYS_socket).unwrap()), Some("socket"));
        assert_eq!(name(u32::try_from(libc::SYS_openat).unwrap()), Some("openat"));
        assert_eq!(name(u32::MAX), None);
    }
}
