//! What a filter lets through: system calls, some of them with certain arguments only.

use super::{ThreadKind, syscalls};
use crate::arch::native;

/// A system call that threads of a kind may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Allowed {
    /// Its number.
    pub call: libc::c_long,
    /// What has to hold of its arguments; nothing: they may be any.
    pub condition: Option<Condition>,
}

/// What an argument has to be: under a mask, a value. The kernel reads these arguments as 32 bits; their upper
/// halves may hold anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The word for it in messages.
    pub name: &'static str,
    /// Which argument, from 0.
    pub argument: u8,
    /// The bits that are looked at.
    pub mask: u32,
    /// What they have to be.
    pub value: u32,
}

impl Allowed {
    /// Whether the filter lets `call` through with these `arguments` for this entry's sake.
    pub fn admits(&self, call: libc::c_long, arguments: &[u64; 6]) -> bool {
        let holds = |condition: Condition| {
            let argument = arguments.get(usize::from(condition.argument));
            argument.is_some_and(|&argument| argument as u32 & condition.mask == condition.value)
        };
        self.call == call && self.condition.is_none_or(holds)
    }
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = u32::try_from(self.call).unwrap_or(u32::MAX);
        match syscalls::name(number) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{number}")?,
        }
        match self.condition {
            Some(condition) => write!(f, "({})", condition.name),
            None => Ok(()),
        }
    }
}

/// KVM's ioctls are those of type 0xAE (linux/kvm.h, `KVMIO`); the type is bits 8 to 15.
const KVM: Allowed = masked(libc::SYS_ioctl, "KVM", 1, 0xff00, 0xae00);

/// Memory, but none that can be executed: what a guest puts into it is no program of the VMM's.
const MEMORY: [Allowed; 2] = [
    masked(libc::SYS_mmap, "data", 2, EXECUTABLE, 0),
    masked(libc::SYS_mprotect, "data", 2, EXECUTABLE, 0),
];
const EXECUTABLE: u32 = libc::PROT_EXEC as u32;

/// Every flag that makes a new process, or a new namespace, instead of a thread is absent from
/// what the C library passes to start one (clone(2)).
const THREAD: Allowed = masked(
    libc::SYS_clone,
    "CLONE_THREAD",
    0,
    (THREAD_FLAGS | NAMESPACE_FLAGS) as u32,
    THREAD_FLAGS as u32,
);
const THREAD_FLAGS: libc::c_int = libc::CLONE_VM | libc::CLONE_THREAD;
const NAMESPACE_FLAGS: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// What a descriptor is; not what a path is.
const DESCRIPTOR: [Allowed; 2] = [
    masked(libc::SYS_statx, "AT_EMPTY_PATH", 2, EMPTY_PATH, EMPTY_PATH),
    masked(libc::SYS_newfstatat, "AT_EMPTY_PATH", 3, EMPTY_PATH, EMPTY_PATH),
];
const EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;

/// Entries for a call whose argument has one of several values.
macro_rules! one_of {
    ($call:ident, $argument:literal: $($value:ident)*) => {
        [$(masked(libc::$call, stringify!($value), $argument, u32::MAX, libc::$value as u32)),*]
    };
}

/// The C library's own handler, installed with the first thread (nptl(7), SIGSETXID), and that of the vCPUs' kicks.
const SETXID: u32 = 33;

/// Calls that are answered as if the kernel did not have them, since the caller has another way.
///
/// * clone3: its flags lie in memory, where no filter sees them; the C library then uses clone,
///   whose flags are checked.
/// * readlink of `/proc/self/fd`: how a file that came as a descriptor learns its name for messages.
pub(super) fn absent() -> impl Iterator<Item = libc::c_long> {
    std::iter::once(libc::SYS_clone3).chain(links())
}

fn links() -> impl Iterator<Item = libc::c_long> {
    native::syscalls::ABSENT.iter().map(|&(call, _)| call)
}

/// Every call that threads of `kind` of this process may make.
pub(super) fn of(kind: ThreadKind) -> Vec<Allowed> {
    use ThreadKind::{Balloon, Block, Console, Control, Fitter, Main, Parent, Process, Rng, Vcpu};

    let any = |call| Allowed {
        call,
        condition: None,
    };
    let mut all: Vec<Allowed> = syscalls::of(kind).into_iter().map(any).collect();
    all.extend(MEMORY);
    // A signal to a thread of this process: kicks of vCPUs, abort.
    all.push(masked(libc::SYS_tgkill, "own", 0, u32::MAX, std::process::id()));
    if matches!(kind, Process | Main | Vcpu | Control) {
        all.push(KVM);
    }
    if !matches!(kind, Rng | Balloon) {
        // Nobody closes what is not open: the standard library's debug builds look (`debug_assert_fd_is_open`).
        all.extend(one_of!(SYS_fcntl, 1: F_GETFD));
    }
    if matches!(kind, Process | Main | Vcpu | Control) {
        // A device that is started has the events of its queues twice; what is saved is synced by a copy.
        all.extend(one_of!(SYS_fcntl, 1: F_DUPFD_CLOEXEC));
    }
    if matches!(kind, Process | Main | Block | Control | Fitter) {
        all.extend(DESCRIPTOR);
    }
    if matches!(kind, Process | Main | Block | Control | Fitter) {
        // The locks of layers: given back with the disk, or with a layer by the last who uses it.
        all.extend(one_of!(SYS_fcntl, 1: F_OFD_SETLK));
    }
    if matches!(kind, Process | Control | Fitter) {
        // Whether another has an overlay, or a disk that comes, locked.
        all.extend(one_of!(SYS_fcntl, 1: F_OFD_GETLK));
    }
    if kind == Process {
        let kick = crate::kvm::kick::signal().unsigned_abs();
        for (name, signal) in [("SIGSETXID", SETXID), ("kick", kick)] {
            all.push(masked(libc::SYS_rt_sigaction, name, 0, u32::MAX, signal));
        }
        // A terminal by hand, made raw and restored. Not what types into it (TIOCSTI).
        all.extend(one_of!(SYS_ioctl, 1: TCGETS TCSETS TCGETS2 TCSETS2));
    }
    if matches!(kind, Process | Fitter) {
        // What narrows a thread, and whether it needs to.
        all.extend(one_of!(SYS_prctl, 0: PR_GET_SECCOMP PR_SET_NO_NEW_PRIVS));
    }
    if matches!(kind, Process | Console | Parent) {
        all.extend(one_of!(SYS_ioctl, 1: FIONBIO));
    }
    if matches!(kind, Process | Main | Control | Fitter) {
        all.push(THREAD);
        all.extend(one_of!(SYS_prctl, 0: PR_SET_NAME));
        // Let through to the filter that answers them, which outweighs this.
        all.push(any(libc::SYS_clone3));
    }
    if matches!(kind, Process | Control | Fitter) {
        all.extend(links().map(any));
    }
    all
}

const fn masked(call: libc::c_long, name: &'static str, argument: u8, mask: u32, value: u32) -> Allowed {
    Allowed {
        call,
        condition: Some(Condition {
            name,
            argument,
            mask,
            value,
        }),
    }
}
