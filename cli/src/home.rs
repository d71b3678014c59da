//! Where things lie on this host: the store of one `KILN_HOME`, and the cache shared by all of them.

use crate::software_machine::inside;
use std::path::{Path, PathBuf};

/// The folder of the store: `--home`, then `KILN_HOME`, then `/var/lib/kiln` for root and
/// `$XDG_DATA_HOME/kiln` for everybody else. Always absolute.
pub(crate) fn store(named: Option<&Path>) -> PathBuf {
    if inside::user_folder().is_some() {
        // A forwarded command: `--home` chose the machine, in which there is one store.
        return PathBuf::from(inside::STORE);
    }
    let variable = std::env::var_os("KILN_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    let chosen = named
        .map(Path::to_path_buf)
        .or(variable)
        .unwrap_or_else(default_store);
    std::path::absolute(&chosen).unwrap_or(chosen)
}

fn default_store() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/kiln");
    }
    below_home("XDG_DATA_HOME", ".local/share").join("kiln")
}

/// The cache: what can be made or downloaded again.
pub(crate) fn cache() -> PathBuf {
    below_home("XDG_CACHE_HOME", ".cache").join("kiln")
}

/// A folder of the XDG base directory specification: its variable if that is an absolute path.
fn below_home(variable: &str, otherwise: &str) -> PathBuf {
    match std::env::var_os(variable).map(PathBuf::from) {
        Some(path) if path.is_absolute() => path,
        _ => std::env::home_dir()
            .unwrap_or_else(|| PathBuf::from("/"))
            .join(otherwise),
    }
}
