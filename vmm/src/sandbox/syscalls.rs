//! Which system calls each kind of thread needs, in groups that say what for.

use std::collections::BTreeSet;

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
    /// Every thread: bytes of its descriptors, its memory (see [`CONDITIONAL`], too), the clock (read by a system call
    /// where the TSC is not to be trusted), its end, and an abort's last words.
    COMMON: SYS_read SYS_write SYS_writev
        SYS_munmap SYS_mremap SYS_brk SYS_clock_gettime
        SYS_rt_sigprocmask SYS_sigaltstack SYS_gettid SYS_getpid SYS_exit_group
}

group! {
    /// One of several threads: locks, channels, and its end before that of the process.
    THREAD: SYS_futex SYS_sched_yield SYS_madvise SYS_exit
}

group! {
    /// Letting go of descriptors.
    CLOSE: SYS_close
}

group! {
    /// Waiting for descriptors.
    WAITS: SYS_ppoll
}

group! {
    /// Waiting for a thread, and no longer than so long: the host may sleep meanwhile.
    PATIENCE: SYS_restart_syscall
}

group! {
    /// The layers of disks, by descriptor.
    LAYERS: SYS_preadv SYS_pwritev SYS_fdatasync SYS_lseek SYS_ftruncate SYS_fstat
}

group! {
    /// What the host's cache has of the layers.
    CACHED: SYS_preadv2
}

group! {
    /// What a guest gave back of its disk: by whoever commits that.
    HOLES: SYS_fallocate SYS_pwrite64
}

group! {
    /// Kernels and saved machines, whose pages are written as the zeroes of holes are.
    MACHINES: SYS_pread64
}

group! {
    /// Saved machines are on disk before it is said.
    SYNC: SYS_fsync
}

group! {
    /// The log, whose content moves to its former part when it is full.
    LOG: SYS_pread64 SYS_pwrite64 SYS_ftruncate
}

group! {
    /// What UEFI's variables became is on disk before the guest reads them again; `LOG` has what writes them.
    VARIABLES: SYS_fdatasync
}

group! {
    /// An event: of an interrupt, of a wait that can be ended.
    EVENTS: SYS_eventfd2
}

group! {
    /// A byte stream that another made to one of our sockets. Nothing here makes a socket or connects one.
    STREAMS: SYS_accept4 SYS_recvfrom SYS_sendto
}

group! {
    /// Frames of a network card, to and from whoever is at its other side.
    FRAMES: SYS_recvfrom SYS_sendto
}

group! {
    /// The control socket: descriptors come along, and who is there is asked.
    SOCKETS: SYS_recvmsg SYS_sendmsg SYS_getsockopt
}

group! {
    /// Starting threads.
    THREADS: SYS_sched_getaffinity SYS_set_robust_list SYS_rseq
}

group! {
    /// Random bytes: a guest's, and the seeds of hash tables.
    RANDOM: SYS_getrandom
}

group! {
    /// Sleeping.
    SLEEP: SYS_clock_nanosleep
}

group! {
    /// Returning from the handler of a kick.
    KICKS: SYS_rt_sigreturn
}

group! {
    /// Building the machine: whose machine it is, and signals of one by hand.
    BUILDING: SYS_geteuid SYS_rt_sigtimedwait
}

group! {
    /// Threads that are made narrow themselves.
    NARROWING: SYS_seccomp
}

group! {
    /// The parent's: waiting, the link to its child, and the exit record's place in the instance's folder.
    RECORD: SYS_wait4 SYS_recvfrom SYS_sendto SYS_ftruncate SYS_fsync SYS_renameat
}

/// Calls that are allowed with some arguments only; `allowed` has the conditions.
const CONDITIONAL: Group = &[
    (libc::SYS_mmap, "SYS_mmap"),
    (libc::SYS_mprotect, "SYS_mprotect"),
    (libc::SYS_ioctl, "SYS_ioctl"),
    (libc::SYS_rt_sigaction, "SYS_rt_sigaction"),
    (libc::SYS_fcntl, "SYS_fcntl"),
    (libc::SYS_statx, "SYS_statx"),
    (libc::SYS_newfstatat, "SYS_newfstatat"),
    (libc::SYS_prctl, "SYS_prctl"),
    (libc::SYS_tgkill, "SYS_tgkill"),
    (libc::SYS_clone, "SYS_clone"),
    (libc::SYS_clone3, "SYS_clone3"),
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
        SYS_pidfd_getfd SYS_pidfd_send_signal SYS_prlimit64 SYS_dup SYS_dup3
        SYS_pipe2 SYS_setsockopt SYS_getsockname SYS_uname SYS_sysinfo SYS_getuid
        SYS_getgid SYS_getegid SYS_getppid SYS_wait4 SYS_waitid SYS_copy_file_range SYS_sendfile
        SYS_splice SYS_sync SYS_syncfs SYS_sync_file_range SYS_flock SYS_statfs SYS_fstatfs
        SYS_getcwd SYS_chdir SYS_fchdir SYS_membarrier SYS_mlock SYS_mlock2 SYS_msync SYS_mincore
        SYS_sched_setaffinity SYS_sched_setscheduler SYS_setpriority SYS_getrusage
        SYS_readv SYS_pwritev2 SYS_nanosleep SYS_gettimeofday SYS_getpeername SYS_shutdown
        SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_timerfd_create SYS_timerfd_settime
}

/// The unconditional calls of `kind`, each once.
pub(super) fn of(kind: ThreadKind) -> BTreeSet<libc::c_long> {
    groups(kind)
        .iter()
        .flat_map(|group| group.iter().map(|&(call, _)| call))
        .collect()
}

fn groups(kind: ThreadKind) -> &'static [Group] {
    match kind {
        ThreadKind::Process => &[
            COMMON, THREAD, CLOSE, WAITS, PATIENCE, LAYERS, CACHED, HOLES, MACHINES, SYNC, EVENTS, STREAMS,
            SOCKETS, THREADS, RANDOM, SLEEP, KICKS, BUILDING, NARROWING,
        ],
        ThreadKind::Main => &[
            COMMON, THREAD, CLOSE, PATIENCE, LAYERS, HOLES, MACHINES, EVENTS, THREADS, RANDOM, SLEEP,
        ],
        ThreadKind::Vcpu => &[COMMON, THREAD, CLOSE, LOG, VARIABLES, EVENTS, KICKS],
        ThreadKind::Block => &[COMMON, THREAD, CLOSE, WAITS, PATIENCE, LAYERS, CACHED, HOLES],
        ThreadKind::Console => &[COMMON, THREAD, CLOSE, WAITS, PATIENCE, LOG, STREAMS],
        ThreadKind::Net => &[COMMON, THREAD, CLOSE, WAITS, FRAMES],
        ThreadKind::Rng => &[COMMON, THREAD, WAITS, RANDOM],
        // What gives memory back is among what every thread may (`madvise`).
        ThreadKind::Balloon => &[COMMON, THREAD, WAITS],
        ThreadKind::Control => &[
            COMMON, THREAD, CLOSE, WAITS, PATIENCE, LAYERS, HOLES, SYNC, EVENTS, STREAMS, SOCKETS, THREADS,
            RANDOM,
        ],
        // What it may not, the threads that it makes may not, either.
        ThreadKind::Fitter => &[
            COMMON, THREAD, CLOSE, WAITS, PATIENCE, LAYERS, CACHED, HOLES, EVENTS, THREADS, RANDOM, SLEEP,
            NARROWING,
        ],
        ThreadKind::Parent => &[COMMON, CLOSE, WAITS, RECORD],
    }
}

/// The name of system call `number` on this architecture, as manual pages have it.
pub fn name(number: u32) -> Option<&'static str> {
    let number = libc::c_long::from(number);
    let allowed = ThreadKind::ALL.into_iter().flat_map(groups);
    let others = [CONDITIONAL, FORBIDDEN, old::ABSENT, old::FORBIDDEN];
    let mut all = allowed.copied().chain(others).flatten();
    all.find(|&&(call, _)| call == number)
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
            let allowed = super::super::allowed(kind);
            for &(call, name) in FORBIDDEN.iter().chain(old::FORBIDDEN) {
                let is_allowed = allowed.iter().any(|entry| entry.call == call);
                assert!(!is_allowed, "{name} is allowed to {}", kind.name());
            }
        }
    }

    #[test]
    fn the_process_may_what_any_thread_may() {
        let of_the_process = super::super::allowed(ThreadKind::Process);
        for kind in of_a_vmm() {
            for entry in super::super::allowed(kind) {
                assert!(of_the_process.contains(&entry), "{entry} of {}", kind.name());
            }
        }
    }

    #[test]
    fn the_fitter_may_what_the_threads_of_a_disk_may_which_it_makes() {
        let of_the_fitter = super::super::allowed(ThreadKind::Fitter);
        for entry in super::super::allowed(ThreadKind::Block) {
            assert!(of_the_fitter.contains(&entry), "{entry}");
        }
    }

    #[test]
    fn a_call_is_allowed_always_or_with_conditions_and_every_one_has_a_name() {
        for kind in ThreadKind::ALL {
            for entry in super::super::allowed(kind) {
                let conditional = CONDITIONAL.iter().any(|&(call, _)| call == entry.call);
                let absent = super::super::allowed::absent().any(|call| call == entry.call);
                assert_eq!(entry.condition.is_some(), conditional && !absent, "{entry}");
                let number = u32::try_from(entry.call).unwrap();
                assert!(name(number).is_some(), "{number} of {}", kind.name());
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
