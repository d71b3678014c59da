//! The filters themselves: the calls of a kind, and conditions on the arguments of some.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::{SandboxError, ThreadKind, syscalls, violation};
use crate::arch::native;

/// KVM's ioctls are those of type 0xAE (linux/kvm.h, `KVMIO`); the type is bits 8 to 15.
const KVM_TYPE: u64 = 0xae00;
const TYPE_MASK: u64 = 0xff00;
/// Every flag that makes a new process, or a new namespace, instead of a thread is absent from
/// what the C library passes to start one (clone(2)).
const THREAD_FLAGS: u64 = (libc::CLONE_VM | libc::CLONE_THREAD) as u64;
const FORBIDDEN_FLAGS: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// The signal by which the C library changes ids in all threads (nptl(7)).
const SETXID: u64 = 33;

/// The calls that are allowed, with the conditions of which one must hold (none: always).
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filter of `kind` on the calling thread.
pub(super) fn install(kind: ThreadKind) -> Result<(), SandboxError> {
    violation::remember(kind);
    let failed = |message: String| SandboxError::Filter {
        kind: kind.name(),
        message,
    };
    let apply = |program: Result<BpfProgram, seccompiler::BackendError>| {
        let program = program.map_err(|error| failed(error.to_string()))?;
        seccompiler::apply_filter(&program).map_err(|error| failed(error.to_string()))
    };
    if kind == ThreadKind::Process {
        apply(without_the_absent())?;
    }
    apply(program(kind))
}

/// Calls that are answered as if the kernel did not have them, since the caller has another way.
///
/// * clone3: its flags lie in memory, where no filter sees them; the C library then uses clone,
///   whose flags are checked.
/// * readlink of `/proc/self/fd`: how a file that came as a descriptor learns its name for messages.
fn absent() -> impl Iterator<Item = libc::c_long> {
    let old = native::syscalls::ABSENT.iter().map(|&(call, _)| call);
    [libc::SYS_clone3, libc::SYS_readlinkat].into_iter().chain(old)
}

fn without_the_absent() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules: Rules = absent().map(|call| (call, Vec::new())).collect();
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, absent, arch)?.try_into()
}

fn program(kind: ThreadKind) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: Rules = syscalls::of(kind)
        .into_iter()
        .map(|call| (call, Vec::new()))
        .collect();
    add_conditions(kind, &mut rules)?;
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, arch)?.try_into()
}

fn add_conditions(kind: ThreadKind, rules: &mut Rules) -> Result<(), seccompiler::BackendError> {
    use ThreadKind::{Console, Control, Main, Parent, Process, Rng, Vcpu};

    // A signal to a thread of this process: kicks of vCPUs, abort.
    let own = u64::from(std::process::id());
    allow(rules, libc::SYS_tgkill, equal(0, own)?)?;
    if matches!(kind, Process | Main | Vcpu | Control) {
        allow(rules, libc::SYS_ioctl, masked(1, TYPE_MASK, KVM_TYPE)?)?;
    }
    if kind != Rng {
        for command in [
            libc::F_GETFD,
            libc::F_GETFL,
            libc::F_SETFL,
            libc::F_SETFD,
            libc::F_DUPFD_CLOEXEC,
            libc::F_OFD_SETLK,
            libc::F_OFD_GETLK,
        ] {
            allow(rules, libc::SYS_fcntl, equal(1, command as u64)?)?;
        }
        // What a descriptor is; not what a path is.
        let empty_path = libc::AT_EMPTY_PATH as u64;
        allow(rules, libc::SYS_statx, masked(2, empty_path, empty_path)?)?;
        allow(rules, libc::SYS_newfstatat, masked(3, empty_path, empty_path)?)?;
    }
    if kind == Process {
        // The C library's own handler, installed with the first thread, and that of the vCPUs' kicks.
        for signal in [SETXID, kick_signal()] {
            allow(rules, libc::SYS_rt_sigaction, equal(0, signal)?)?;
        }
    }
    if kind == Process {
        // A terminal by hand, made raw and restored. Not what types into it (TIOCSTI).
        for request in [libc::TCGETS, libc::TCSETS, libc::TCGETS2, libc::TCSETS2] {
            allow(rules, libc::SYS_ioctl, equal(1, request)?)?;
        }
    }
    if matches!(kind, Console | Control | Process | Parent) {
        allow(rules, libc::SYS_ioctl, equal(1, libc::FIONBIO)?)?;
    }
    if kind != Parent {
        // Let through to `without_the_absent`, which outweighs this.
        rules.extend(absent().map(|call| (call, Vec::new())));
    }
    if matches!(kind, Process | Main | Control) {
        allow(
            rules,
            libc::SYS_clone,
            vec![
                condition(0, SeccompCmpOp::MaskedEq(THREAD_FLAGS), THREAD_FLAGS)?,
                condition(0, SeccompCmpOp::MaskedEq(FORBIDDEN_FLAGS), 0)?,
            ],
        )?;
        for option in [libc::PR_SET_NAME, libc::PR_GET_SECCOMP, libc::PR_SET_NO_NEW_PRIVS] {
            allow(rules, libc::SYS_prctl, equal(0, option as u64)?)?;
        }
    }
    Ok(())
}

fn kick_signal() -> u64 {
    u64::from(crate::kvm::kick::signal().unsigned_abs())
}

/// Adds one more way in which `call` is allowed.
fn allow(
    rules: &mut Rules,
    call: i64,
    conditions: Vec<SeccompCondition>,
) -> Result<(), seccompiler::BackendError> {
    rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
    Ok(())
}

fn equal(argument: u8, value: u64) -> Result<Vec<SeccompCondition>, seccompiler::BackendError> {
    // The kernel reads these arguments as 32 bits; the upper half may hold anything.
    Ok(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        value,
    )?])
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<Vec<SeccompCondition>, seccompiler::BackendError> {
    let operator = SeccompCmpOp::MaskedEq(mask);
    Ok(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        operator,
        value,
    )?])
}

fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)
}
