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

/// What is there of the way to the store in `home`.
pub(crate) fn existing(home: &Path) -> Option<&Path> {
    home.ancestors().find(|folder| folder.exists())
}

/// Bytes that are free in the file system of a folder.
pub(crate) fn free(folder: &Path) -> Option<u64> {
    let fs = rustix::fs::statvfs(folder).ok()?;
    Some(fs.f_bavail.saturating_mul(fs.f_frsize))
}

/// The cache: what can be made or downloaded again.
pub(crate) fn cache() -> PathBuf {
    below_home("XDG_CACHE_HOME", ".cache").join("kiln")
}

/// A folder of the XDG base directory specification: its variable if that is an absolute path.
fn below_home(variable: &str, otherwise: &str) -> PathBuf {
    match std::env::var_os(variable).map(PathBuf::from) {
        Some(path) if path.is_absolute() => path,
        _ => home_folder()
            .unwrap_or_else(|| PathBuf::from("/"))
            .join(otherwise),
    }
}

/// The user's home folder: what HOME says if that is an absolute path, else /etc/passwd. The C library is not asked: a
/// static one that knows nobody of this id loads the host's own modules, and does not survive it.
fn home_folder() -> Option<PathBuf> {
    let named = std::env::var_os("HOME").map(PathBuf::from);
    named.filter(|home| home.is_absolute()).or_else(|| {
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        home_of(&users, rustix::process::getuid().as_raw())
    })
}

/// The home folder of a user, of the lines of passwd(5).
fn home_of(users: &str, id: u32) -> Option<PathBuf> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_theirs = fields.get(2)?.parse() == Ok(id);
        is_theirs.then(|| fields.get(5).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_home_is_read_of_the_list_of_users() {
        let users = "# none\n+::::::\nroot:x:0:0:root:/root:/bin/bash\nme:x:1000:1000:,,,:/home/me:/bin/sh\nshort:x:7\n";
        assert_eq!(home_of(users, 1000), Some(PathBuf::from("/home/me")));
        assert_eq!(home_of(users, 0), Some(PathBuf::from("/root")));
        assert_eq!(home_of(users, 7), None);
        assert_eq!(home_of(users, 1234), None);
    }
}
