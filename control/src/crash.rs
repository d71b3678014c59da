//! Crash points: named places where a test can have the process killed, to see that the next command puts right what
//! this one left.
//!
//! `KILN_CRASH_POINT=create_image.after_overlays` in the environment kills the process (SIGKILL: nothing is cleaned
//! up, nothing is flushed) when it comes to that place. They exist in debug builds and with the feature
//! `crash-points`; elsewhere the macro is nothing.

/// Every crash point, in the order in which its work comes to it.
pub const CRASH_POINTS: &[&str] = &[
    "import_image.after_intent",
    "import_image.after_copy",
    "import_image.after_seal",
    "run_instances.after_reservation",
    "run_instances.after_folder",
    "run_instances.after_overlays",
    "run_instances.after_attach",
    "run_instances.after_spawn",
    "run_instances.after_running",
    "create_image.after_intent",
    "create_image.after_ending",
    "create_image.after_overlays",
    "create_image.before_freeze",
    "create_image.after_freeze",
    "create_image.after_seal",
    "create_image.after_commit",
    "create_image.after_restart",
    "start.after_claim",
    "start.after_spawn",
    "ending.after_asking",
    "reboot.after_claim",
    "reboot.after_button",
    "reboot.before_restart",
    "reboot.after_restart",
    "stop.after_claim",
    "stop.after_asking",
    "stop.after_end",
    "terminate.after_claim",
    "terminate.after_end",
    "terminate.after_volumes",
    "terminate.after_commit",
    "create_volume.after_intent",
    "create_volume.after_layer",
    "create_volume.after_commit",
    "attach_volume.after_intent",
    "attach_volume.after_plugging",
    "attach_volume.before_commit",
    "attach_volume.after_commit",
    "detach_volume.after_intent",
    "detach_volume.after_asking",
    "detach_volume.after_force",
    "detach_volume.before_commit",
    "detach_volume.after_commit",
    "modify.after_intent",
    "modify.after_files",
    "modify.after_commit",
    "modify.after_removing",
    "collect.after_condemning",
    "collect.after_removing",
];

/// Dies here if the environment says so.
pub(crate) fn reach(name: &str) {
    if cfg!(any(debug_assertions, feature = "crash-points"))
        && std::env::var_os("KILN_CRASH_POINT").is_some_and(|wanted| wanted == name)
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Whether a name is in the list, at compile time.
pub(crate) const fn is_known(name: &str) -> bool {
    let mut n = 0;
    while n < CRASH_POINTS.len() {
        if equal(CRASH_POINTS[n].as_bytes(), name.as_bytes()) {
            return true;
        }
        n += 1;
    }
    false
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut n = 0;
    while n < a.len() {
        if a[n] != b[n] {
            return false;
        }
        n += 1;
    }
    true
}

/// A place where a test can have the process killed; the name must be in [`CRASH_POINTS`].
macro_rules! crash_point {
    ($name:literal) => {{
        const {
            assert!(
                crate::crash::is_known($name),
                "a crash point that is not in the list"
            )
        };
        crate::crash::reach($name);
    }};
}
pub(crate) use crash_point;
