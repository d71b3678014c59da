//! Symbolic links, followed here and not by the library: that allocates as many bytes as a link says it is long.

use ext4_view::{Ext4, PathBuf};

use super::named;
use crate::probe::ProbeError;

/// The longest target, in bytes: Linux's `PATH_MAX`.
const TARGET_LIMIT: u64 = 4096;
/// The most links on the way to one file, as in Linux.
const LINK_LIMIT: usize = 40;
/// The most steps on the way to one file.
const STEP_LIMIT: usize = 1000;

/// The path without links that `path` leads to from the root. Something is there.
pub(super) fn follow(files: &Ext4, path: &str) -> Result<PathBuf, ProbeError> {
    let refused = |reason: String| ProbeError::Path {
        path: path.into(),
        reason,
    };
    let mut done: Vec<Vec<u8>> = Vec::new();
    // What is still to be gone, the next step last.
    let mut left = steps(path.as_bytes());
    let mut links = 0_usize;
    for _ in 0..STEP_LIMIT {
        let Some(step) = left.pop() else {
            return Ok(joined(&done));
        };
        if step == b".." {
            done.pop();
            continue;
        }
        done.push(step);
        let here = joined(&done);
        let found = files
            .symlink_metadata(&here)
            .map_err(|error| named(path, error))?;
        if !found.file_type().is_symlink() {
            continue;
        }
        links = links.saturating_add(1);
        if links > LINK_LIMIT {
            return Err(refused(format!(
                "more than {LINK_LIMIT} symbolic links lead to it"
            )));
        }
        if found.len() > TARGET_LIMIT {
            return Err(refused(format!(
                "a symbolic link to it says that it is {} bytes long",
                found.len()
            )));
        }
        let target = files.read_link(&here).map_err(|error| named(path, error))?;
        done.pop();
        if target.is_absolute() {
            done.clear();
        }
        left.extend(steps(target.as_ref()));
    }
    Err(refused(format!("it is more than {STEP_LIMIT} steps away")))
}

/// The steps of a path, the first one last.
fn steps(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|step| !step.is_empty() && *step != b".")
        .map(Vec::from)
        .rev()
        .collect()
}

fn joined(steps: &[Vec<u8>]) -> PathBuf {
    steps
        .iter()
        .fold(PathBuf::new(b"/"), |path, step| path.join(step))
}
