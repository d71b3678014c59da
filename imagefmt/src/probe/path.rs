//! The way along a path, symbolic links followed; the same for every file system that has them.
//!
//! A library that follows links itself may allocate as many bytes as a link says it is long.

use super::ProbeError;

/// The longest target, in bytes: Linux's `PATH_MAX`.
pub(super) const TARGET_LIMIT: u64 = 4096;
/// The most links on the way to one file, as in Linux.
const LINK_LIMIT: usize = 40;
/// The most steps on the way to one file.
const STEP_LIMIT: usize = 1000;

/// What a name in a folder leads to.
pub(super) enum Step<N> {
    /// A file or folder; `N` is how its file system finds it again.
    Node(N),
    /// A symbolic link, by its target.
    Link(Vec<u8>),
}

/// The steps from the root to what `path` leads to, none of them a link: names, and what they are. `step` is
/// asked for a name in a folder, which is the root where none is given; what is not there is its error.
pub(super) fn follow<N>(
    path: &str,
    mut step: impl FnMut(Option<&N>, &[u8]) -> Result<Step<N>, ProbeError>,
) -> Result<Vec<(Vec<u8>, N)>, ProbeError> {
    let refused = |reason: String| ProbeError::Path {
        path: path.into(),
        reason,
    };
    let mut done: Vec<(Vec<u8>, N)> = Vec::new();
    // What is still to be gone, the next step last.
    let mut left = steps(path.as_bytes());
    let mut links = 0_usize;
    for _ in 0..STEP_LIMIT {
        let Some(name) = left.pop() else {
            return Ok(done);
        };
        if name == b".." {
            done.pop();
            continue;
        }
        let target = match step(done.last().map(|(_, node)| node), &name)? {
            Step::Node(node) => {
                done.push((name, node));
                continue;
            }
            Step::Link(target) => target,
        };
        links = links.saturating_add(1);
        if links > LINK_LIMIT {
            return Err(refused(format!(
                "more than {LINK_LIMIT} symbolic links lead to it"
            )));
        }
        if target.starts_with(b"/") {
            done.clear();
        }
        left.extend(steps(&target));
    }
    Err(refused(format!("it is more than {STEP_LIMIT} steps away")))
}

/// Whether a search for a path has found something.
pub(super) fn is_found<T>(found: Result<T, ProbeError>) -> Result<bool, ProbeError> {
    match found {
        Ok(_) => Ok(true),
        Err(ProbeError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// That a link to `path` is longer than [`TARGET_LIMIT`].
pub(super) fn link_too_long(path: &str, len: u64) -> ProbeError {
    ProbeError::Path {
        path: path.into(),
        reason: format!("a symbolic link to it says that it is {len} bytes long"),
    }
}

/// Those steps as a path, with what is not UTF-8 replaced.
pub(super) fn shown<N>(steps: &[(Vec<u8>, N)]) -> String {
    if steps.is_empty() {
        return "/".into();
    }
    steps
        .iter()
        .map(|(name, _)| format!("/{}", String::from_utf8_lossy(name)))
        .collect()
}

/// The steps of a path, the first one last.
fn steps(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|step| !step.is_empty() && *step != b".")
        .map(Vec::from)
        .rev()
        .collect()
}
