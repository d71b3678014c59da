//! Why what is not seen is allowed all the same.

use kiln_vmm::sandbox::ThreadKind::{
    self, Balloon, Block, Console, Control, Fitter, Main, Net, Parent, Process, Rng, Vcpu,
};

/// Why threads of some kinds are allowed some calls.
pub(super) struct Reason {
    pub(super) kinds: &'static [ThreadKind],
    pub(super) calls: &'static str,
    /// Who makes them, and when.
    pub(super) why: &'static str,
}

const EVERY: &[ThreadKind] = &[
    Process, Main, Vcpu, Block, Console, Net, Rng, Balloon, Control, Fitter, Parent,
];
const OF_SEVERAL: &[ThreadKind] = &[
    Process, Main, Vcpu, Block, Console, Net, Rng, Balloon, Control, Fitter,
];

/// Calls that are made if need be, by the C library, the standard library or the kernel above all: whether they are
/// seen is chance.
pub(super) const CHANCE: &[Reason] = &[
    Reason {
        kinds: EVERY,
        calls: "mmap(data) mprotect(data) munmap mremap brk",
        why: "the allocator gets memory, and gives it back: glibc, malloc/malloc.c, sysmalloc, systrim, \
              munmap_chunk, mremap_chunk; malloc/arena.c, grow_heap",
    },
    Reason {
        kinds: EVERY,
        calls: "clock_gettime",
        why: "the host's clock is not the TSC: Linux, lib/vdso/gettimeofday.c, __cvdso_clock_gettime",
    },
    Reason {
        kinds: OF_SEVERAL,
        calls: "futex sched_yield",
        why: "another thread is there at the same time: std, sys/sync/mutex/futex.rs; sync/mpmc/utils.rs, spin_heavy",
    },
    Reason {
        kinds: OF_SEVERAL,
        calls: "rt_sigprocmask sigaltstack madvise exit",
        why: "a thread ends before its process does: glibc, nptl/pthread_create.c, start_thread, advise_stack_range; \
              std, sys/pal/unix/stack_overflow.rs, drop_handler",
    },
    Reason {
        kinds: &[Fitter],
        calls: "read write preadv pwritev preadv2 fdatasync lseek ftruncate fstat fallocate pwrite64 ppoll \
                newfstatat(AT_EMPTY_PATH) fcntl(F_OFD_GETLK) exit",
        why: "the threads of a disk that it makes have its filter besides their own: what each of them does is theirs to \
              do. It looks for other users of a layer, too, and opens and closes what the disk consists of",
    },
    Reason {
        kinds: &[Fitter],
        calls: "getrandom clock_nanosleep readlink restart_syscall sched_getaffinity rseq set_robust_list eventfd2",
        why: "a hash table's seed; a freeze that still has a disk that goes; a caller who hands over files without their \
              names; what comes before a thread's own filter",
    },
    Reason {
        kinds: &[Main, Control, Fitter],
        calls: "clone3",
        why: "a thread is started: glibc, sysdeps/unix/sysv/linux/clone-internal.c; since 2.41 it is not tried again where it \
              was missing once",
    },
    Reason {
        kinds: &[Control],
        calls: "getrandom",
        why: "a hash table's seed: std, sys/random/linux.rs; a glibc since 2.41 has it from Linux' vDSO",
    },
    Reason {
        kinds: &[Process, Main, Block, Console, Control],
        calls: "restart_syscall",
        why: "the host stopped or slept during a wait that has an end: Linux, kernel/futex/waitwake.c, futex_wait; \
              kernel/time/hrtimer.c, hrtimer_nanosleep",
    },
    Reason {
        kinds: &[Main],
        calls: "clock_nanosleep",
        why: "the agent of a restored guest is not heard yet when it is looked for: tell, machine/resumption.rs",
    },
    Reason {
        kinds: &[Control],
        calls: "ioctl(KVM)",
        why: "the power button is pressed over the socket, and raises its interrupt: set_line, arch/x86_64/board.rs",
    },
    Reason {
        kinds: &[Block, Net, Rng, Balloon],
        calls: "read",
        why: "a queue was found empty before its kick came: drain, virtio/worker.rs",
    },
    Reason {
        kinds: &[Block],
        calls: "close fcntl(F_OFD_SETLK)",
        why: "a layer that the disk let go of while a request still used it: Drop of Layer, imagefmt",
    },
    Reason {
        kinds: &[Process, Main, Vcpu, Block, Console, Net, Control, Fitter, Parent],
        calls: "fcntl(F_GETFD)",
        why: "debug builds look whether what they close is open: std, os/fd/owned.rs, debug_assert_fd_is_open",
    },
];

/// Calls that are never seen here.
pub(super) const ELSEWHERE: &[Reason] = &[
    Reason {
        kinds: EVERY,
        calls: "writev",
        why: "the allocator finds its lists damaged, and says so: glibc, sysdeps/posix/libc_fatal.c, __libc_message",
    },
    Reason {
        kinds: &[Vcpu, Block, Console, Net, Rng, Balloon, Control, Fitter],
        calls: "exit_group",
        why: "a forbidden call was made: on_sigsys. The test whose name begins with \
              hazard_a_thread_of_any_kind_that_opens_a_file has each of them do it",
    },
    Reason {
        kinds: &[Parent],
        calls: "rt_sigprocmask getpid gettid tgkill(own)",
        why: "a release build panics, or the allocator ends it: glibc, stdlib/abort.c; nptl/pthread_kill.c",
    },
    Reason {
        kinds: &[Block],
        calls: "pwrite64 statx(AT_EMPTY_PATH) lseek",
        why: "a file system without holes, or a block device: punch_hole and length of imagefmt",
    },
    Reason {
        kinds: &[Vcpu],
        calls: "fdatasync",
        why: "UEFI changed its variables: sync of legacy/flash/chip.rs",
    },
    Reason {
        kinds: &[Control],
        calls: "pwrite64 lseek",
        why: "the same, of the layer that is sealed or of the overlay that is to come",
    },
    Reason {
        kinds: &[Main, Block, Control],
        calls: "newfstatat(AT_EMPTY_PATH)",
        why: "a host that refuses statx: std, sys/fs/unix.rs, try_statx, then glibc before 2.40",
    },
    Reason {
        kinds: &[Main, Block],
        calls: "fstat",
        why: "the same with a later glibc: sysdeps/unix/sysv/linux/fstat64.c",
    },
    Reason {
        kinds: &[Control],
        calls: "readlink",
        why: "a caller who hands over an overlay without its name: file_name of imagefmt",
    },
    Reason {
        kinds: &[Process],
        calls: "ioctl(TCSETS)",
        why: "a kernel without TCSETS2: rustix, tcsetattr_fallback",
    },
];
