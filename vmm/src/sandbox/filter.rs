//! The filters themselves, made of what is allowed to a kind of thread.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::allowed::{self, Condition};
use super::{SandboxError, ThreadKind, violation};

/// The calls that are allowed, with the conditions of which one must hold (none: always).
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filter of `kind` on the calling thread.
pub(super) fn install(kind: ThreadKind) -> Result<(), SandboxError> {
    violation::remember(kind);
    let failed = |message: String| SandboxError::Filter {
        kind: kind.name(),
        message,
    };
    let apply = |program: Result<BpfProgram, BackendError>| {
        let program = program.map_err(|error| failed(error.to_string()))?;
        seccompiler::apply_filter(&program).map_err(|error| failed(error.to_string()))
    };
    if kind == ThreadKind::Process {
        apply(without_the_absent())?;
    }
    apply(program(kind))
}

fn without_the_absent() -> Result<BpfProgram, BackendError> {
    let rules: Rules = allowed::absent().map(|call| (call, Vec::new())).collect();
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, absent, arch)?.try_into()
}

fn program(kind: ThreadKind) -> Result<BpfProgram, BackendError> {
    let mut rules = Rules::new();
    for entry in allowed::of(kind) {
        let conditions = rules.entry(entry.call).or_default();
        if let Some(condition) = entry.condition {
            conditions.push(rule(condition)?);
        }
    }
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, arch)?.try_into()
}

fn rule(condition: Condition) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        condition.argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(condition.mask.into()),
        condition.value.into(),
    )?])
}
