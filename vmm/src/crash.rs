//! Crash points: named places where a test can have the VMM killed, to see that nothing is lost.
//!
//! `--crash-point=freeze.swapped` kills the process (SIGKILL: nothing is cleaned up, nothing is
//! flushed) when it comes to that place; a starter that has `KILN_VMM_CRASH_POINT` in its
//! environment says so for its machines. They exist in debug builds and with the feature
//! `crash-points`; elsewhere there is no such option and reaching a place is nothing.

use std::ffi::OsString;

/// Every crash point, in the order in which a launch, then a freeze comes to it.
pub const CRASH_POINTS: &[&str] = &[
    "launch.disks_opened",
    "launch.sandboxed",
    "launch.before_ready",
    "launch.after_ready",
    "freeze.prepared",
    "freeze.gates_closed",
    "freeze.swapped",
    "freeze.before_sync",
    "freeze.after_sync",
];

const OPTION: &str = "--crash-point=";
const OPEN_IN: &str = "--open-in=";
const PANIC_IN: &str = "--panic-in=";
const EXIST: bool = cfg!(any(debug_assertions, feature = "crash-points"));

/// Whether the command line says `option`, followed by `name`.
fn is_asked(option: &str, name: &str) -> bool {
    let is_so =
        |argument: OsString| argument.to_str().and_then(|text| text.strip_prefix(option)) == Some(name);
    EXIST && std::env::args_os().any(is_so)
}

/// Does what the command line says that a thread of this kind, which is confined by now, shall do: `--open-in=vcpu`
/// shows what becomes of one that is taken over, `--panic-in=vcpu` of one that has a bug.
#[expect(clippy::panic, reason = "that is what was asked for")]
pub(crate) fn fail_if_asked(kind: &str) {
    if is_asked(OPEN_IN, kind) {
        drop(std::fs::File::open("/proc/self/status"));
    }
    if is_asked(PANIC_IN, kind) {
        panic!("a {kind} thread was asked to panic");
    }
}

/// Dies here if the command line says so.
pub(crate) fn reach(name: &str) {
    debug_assert!(CRASH_POINTS.contains(&name), "{name} is not in the list");
    if is_asked(OPTION, name) {
        // SAFETY: no memory is involved. The filters let a thread signal its own process.
        unsafe { libc::raise(libc::SIGKILL) };
    }
}

/// The option for a machine that is being started, if this process' environment asks for one.
pub(crate) fn option() -> Option<OsString> {
    let point = EXIST.then(|| std::env::var_os("KILN_VMM_CRASH_POINT"))??;
    let mut option = OsString::from(OPTION);
    option.push(point);
    Some(option)
}
