//! Programs and scripts that a test puts somewhere and runs.

use std::path::Path;
use std::process::Command;

/// Copies a program or script to `to`, executable. Another process writes it: what this one has open for writing is
/// open, for a moment, in each child that another test starts meanwhile, and cannot be executed ("text file busy").
pub fn install(from: &Path, to: &Path) {
    let status = Command::new("install")
        .args(["-m", "755"])
        .args([from, to])
        .status()
        .expect("install(1) can be started");
    assert!(status.success(), "{} cannot be installed", from.display());
}
