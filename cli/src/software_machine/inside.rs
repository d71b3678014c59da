//! What a forwarded `kiln` finds in the machine: the store, the host's files, and what it is told of its user.

use kiln_control::DataMap;
use rustix::fs::{Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use std::ffi::OsString;
use std::os::fd::AsRawFd;
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

/// Where a file of the host is in the machine, all links on the way followed as they lead on the host: an absolute one from
/// the host's root. None if it is not there.
pub(crate) fn resolve(host: &Path) -> Option<PathBuf> {
    resolve_below(Path::new(HOST), host)
}

fn resolve_below(root: &Path, path: &Path) -> Option<PathBuf> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty()).ok()?;
    let file = rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// Where a file of the host is in the machine, by its name alone.
pub(crate) fn place_of(host: &Path) -> PathBuf {
    let mut path = OsString::from(HOST);
    path.push(host);
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_leads_in_the_machine_where_it_leads_on_the_host() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let root = root.path().canonicalize().expect("it is there");
        std::fs::create_dir_all(root.join("data/deep")).expect("folders");
        std::fs::write(root.join("data/deep/file"), "x").expect("a file");
        symlink("/data", root.join("absolute")).expect("a link");
        symlink("../../data/deep/file", root.join("data/deep/relative")).expect("a link");
        symlink("/absolute/deep/relative", root.join("twice")).expect("a link");
        let file = root.join("data/deep/file");
        for path in [
            "/data/deep/file",
            "/absolute/deep/file",
            "/data/deep/relative",
            "/twice",
            "/../twice",
        ] {
            assert_eq!(
                resolve_below(&root, Path::new(path)),
                Some(file.clone()),
                "{path}"
            );
        }
        assert_eq!(
            resolve_below(&root, Path::new("/absolute")),
            Some(root.join("data"))
        );
        assert_eq!(resolve_below(&root, Path::new("/no/such")), None);
    }
}
