//! Packages of Debian, fetched and unpacked into a cache without installing them: by the host's
//! own apt and its mirror, as any user.
//!
//! [`fetch`] is the short way: `fetch(&["linux-image-cloud-amd64"], "bookworm", cache)` is a folder
//! with `boot/` and `lib/modules/`.

mod apt;
mod architecture;
mod debs;
mod sources;

pub(crate) use apt::{Apt, Freshness};
pub use architecture::Architecture;

use crate::BuildError;
use crate::programs::run;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How far a fetch goes beyond the packages named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closure {
    /// Nothing more. A kernel's metapackage (`linux-image-…`) stands for the kernel itself.
    Named,
    /// All that they depend on, too.
    Dependencies,
    /// What they depend on and this host has not installed.
    MissingHere,
}

/// A package as it was resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The digest of its file, in hexadecimal; empty, which no file has, if the lists do not say it.
    pub sha256: String,
}

/// What [`fetch_with`] found.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The packages' files; shared, never written again.
    pub tree: PathBuf,
    /// What was unpacked.
    pub packages: Vec<Package>,
}

/// Unpacks just these packages of this suite of Debian into the cache, once, and returns the tree.
pub fn fetch(names: &[&str], suite: &str, cache: &Path) -> Result<PathBuf, BuildError> {
    fetch_with(names, suite, Architecture::HOST, Closure::Named, cache, &|_| {}).map(|fetched| fetched.tree)
}

/// As [`fetch`], with what the packages depend on, the versions, and word of what is done.
pub fn fetch_with(
    names: &[&str],
    suite: &str,
    architecture: Architecture,
    closure: Closure,
    cache: &Path,
    progress: &dyn Fn(&str),
) -> Result<Fetched, BuildError> {
    let apt = Apt::open(suite, architecture, cache)?;
    apt.refresh(Freshness::Today, progress)?;
    match unpacked(&apt, names, closure, cache, progress) {
        // The lists name a package that the mirror has replaced meanwhile.
        Err(BuildError::NoPackage { .. } | BuildError::Failed { .. }) => {
            apt.refresh(Freshness::Now, progress)?;
            unpacked(&apt, names, closure, cache, progress)
        }
        done => done,
    }
}

fn unpacked(
    apt: &Apt,
    names: &[&str],
    closure: Closure,
    cache: &Path,
    progress: &dyn Fn(&str),
) -> Result<Fetched, BuildError> {
    let packages = apt.resolve(names, closure)?;
    let mut digest = Sha256::new();
    for package in &packages {
        digest.update(format!("{}={}\n", package.name, package.version));
    }
    if apt.architecture() != Architecture::HOST {
        digest.update(apt.architecture().debian_name());
    }
    let key: String = digest
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let folder = cache.join("packages");
    let tree = folder.join(format!("{}-{key}", apt.suite()));
    if tree.is_dir() {
        return Ok(Fetched { tree, packages });
    }
    progress(&format!("fetching {}", names.join(", ")));
    fs::create_dir_all(&folder).map_err(BuildError::io("make", &folder))?;
    let unfinished = folder.join(format!(".{key}.{}", std::process::id()));
    let _ = fs::remove_dir_all(&unfinished);
    let done = apt
        .download(&packages)
        .and_then(|files| unpack(&files, &unfinished));
    let done = done.and_then(|()| match fs::rename(&unfinished, &tree) {
        // Another process was faster.
        Err(_) if tree.is_dir() => Ok(()),
        renamed => renamed.map_err(BuildError::io("make", &tree)),
    });
    let _ = fs::remove_dir_all(&unfinished);
    done.map(|()| Fetched { tree, packages })
}

fn unpack(files: &[PathBuf], tree: &Path) -> Result<(), BuildError> {
    fs::create_dir_all(tree).map_err(BuildError::io("make", tree))?;
    for file in files {
        run(Command::new("dpkg-deb").arg("-x").arg(file).arg(tree), &|_| {})?;
    }
    // dpkg-deb syncs nothing, and a tree under its final name is never looked at again.
    let all = fs::File::open(tree).map_err(BuildError::io("open", tree))?;
    rustix::fs::syncfs(all).map_err(|e| BuildError::io("sync", tree)(e.into()))
}
