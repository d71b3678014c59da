//! What a forwarded `kiln` finds in the machine: the store, the host's files, and what it is told of its user.

use kiln_control::DataMap;
use rustix::fs::StatVfsMountFlags;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where the store lies.
pub(crate) const STORE: &str = "/kiln";
/// Where the host's files lie.
pub(super) const HOST: &str = "/host";

/// Tells where the user is: the working folder on the host.
pub(super) const USER_FOLDER: &str = "KILN_USER_FOLDER";
/// Tells where the file that is imported has data: a [`DataMap`] as JSON.
pub(super) const USER_MAP: &str = "KILN_USER_MAP";

/// Where the imported file of a forwarded command has data, as the host sees it.
pub(crate) fn user_map() -> Option<DataMap> {
    serde_json::from_str(&std::env::var(USER_MAP).ok()?).ok()
}

/// The working folder of the user of a forwarded command; none if this process was not forwarded.
pub(crate) fn user_folder() -> Option<PathBuf> {
    std::env::var_os(USER_FOLDER).map(PathBuf::from)
}

/// Whether the machine's disk could not be written: since then its file system takes nothing any more.
pub(crate) fn has_lost_its_disk() -> bool {
    let is_read_only = |fs: rustix::fs::StatVfs| fs.f_flag.contains(StatVfsMountFlags::RDONLY);
    user_folder().is_some() && rustix::fs::statvfs(STORE).is_ok_and(is_read_only)
}

/// Where a file of the host is in the machine.
pub(crate) fn place_of(host: &Path) -> PathBuf {
    let mut path = OsString::from(HOST);
    path.push(host);
    PathBuf::from(path)
}
