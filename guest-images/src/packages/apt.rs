//! The host's apt with folders of its own: nothing under /etc or /var is written, and no root is
//! needed. Proxies and credentials of the host's configuration hold.

use super::{Architecture, Closure, Package, debs, sources};
use crate::BuildError;
use crate::programs::run;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

/// How old the package lists may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Today,
    Now,
}

/// What is already there when dependencies are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Nothing: a new system.
    Empty,
    /// This host.
    Host,
}

/// The lists and packages of one suite, for one architecture.
#[derive(Debug)]
pub(crate) struct Apt {
    suite: String,
    architecture: Architecture,
    folder: PathBuf,
    /// Two processes do not update the same lists at once.
    _lock: File,
}

impl Apt {
    pub(crate) fn open(suite: &str, architecture: Architecture, cache: &Path) -> Result<Apt, BuildError> {
        let mut name = suite.to_owned();
        if architecture != Architecture::HOST {
            name = format!("{suite}-{}", architecture.debian_name());
        }
        let folder = cache.join("apt").join(name);
        for inside in [
            "lists/partial",
            "archives/partial",
            "sources",
            "debs",
            "empty",
            "tmp",
        ] {
            let inside = folder.join(inside);
            fs::create_dir_all(&inside).map_err(BuildError::io("make", &inside))?;
        }
        let folder = folder.canonicalize().map_err(BuildError::io("find", &folder))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(BuildError::io("make", &path))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|e| BuildError::io("lock", &path)(e.into()))?;
        // Nothing is written before: who holds the lock reads it.
        let apt = Apt {
            suite: suite.into(),
            architecture,
            folder,
            _lock: lock,
        };
        apt.read_from(&sources::of(suite, &apt.folder.join("tmp"))?)?;
        write(&apt.folder.join("status"), "")?;
        Ok(apt)
    }

    /// Makes this the source list. Lists of other mirrors are not fresh, whatever their age.
    fn read_from(&self, list: &str) -> Result<(), BuildError> {
        let path = self.source_list();
        if fs::read_to_string(&path).is_ok_and(|there| there == list) {
            return Ok(());
        }
        let stamp = self.stamp();
        match fs::remove_file(&stamp) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(BuildError::io("remove", &stamp)(e));
            }
            _ => {}
        }
        // In one step: a build reads it after it has let go of the lock.
        let new = self.folder.join("tmp/kiln.sources");
        write(&new, list)?;
        fs::rename(&new, &path).map_err(BuildError::io("write", &path))
    }

    /// Of the time when the lists were read.
    fn stamp(&self) -> PathBuf {
        self.folder.join("refreshed")
    }

    pub(crate) fn suite(&self) -> &str {
        &self.suite
    }

    pub(crate) fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The source list, for others who install from it.
    pub(crate) fn source_list(&self) -> PathBuf {
        self.folder.join("sources/kiln.sources")
    }

    fn apt(&self, program: &str, source: Source) -> Command {
        let mut command = Command::new(program);
        let folder = |inside: &str| self.folder.join(inside).display().to_string();
        let mut set = |name: &str, value: String| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        set("Dir::Etc::SourceList", "/dev/null".into());
        set("Dir::Etc::SourceParts", folder("sources"));
        set("Dir::Etc::Preferences", "/dev/null".into());
        set("Dir::Etc::PreferencesParts", folder("empty"));
        set("Dir::State::Lists", folder("lists"));
        set("Dir::Cache", folder(""));
        set("APT::Sandbox::User", "root".into());
        // A host may take packages of other architectures for itself.
        set("APT::Architecture", self.architecture.debian_name().into());
        set("APT::Architectures", self.architecture.debian_name().into());
        set("Acquire::Languages", "none".into());
        set("Acquire::Retries", "3".into());
        // `--print-uris install` says MD5 without it.
        set("Acquire::ForceHash", "SHA256".into());
        // Without being named so, backports are never chosen.
        let backports = self.suite.ends_with(sources::BACKPORTS);
        set(
            "APT::Default-Release",
            if backports {
                self.suite.clone()
            } else {
                String::new()
            },
        );
        // Contents and icons of programs are of no use here.
        set(
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
            "false".into(),
        );
        set(
            "Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled",
            "false".into(),
        );
        set(
            "Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled",
            "false".into(),
        );
        if source == Source::Empty {
            set("Dir::State::status", folder("status"));
        }
        command
            .env("LC_ALL", "C")
            .env("TMPDIR", folder("tmp"))
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Makes the lists as fresh as asked. Without a network those that are there go on serving.
    pub(crate) fn refresh(&self, freshness: Freshness, progress: &dyn Fn(&str)) -> Result<(), BuildError> {
        let stamp = self.stamp();
        let written = fs::metadata(&stamp).and_then(|stamp| stamp.modified());
        let old = written
            .ok()
            .and_then(|written| SystemTime::now().duration_since(written).ok());
        let today = old.is_some_and(|old| old < Duration::from_secs(24 * 3600));
        if freshness == Freshness::Today && today {
            return Ok(());
        }
        progress(&format!("reading the package lists of Debian {}", self.suite));
        let mut command = self.apt("apt-get", Source::Empty);
        command.args(["-q", "-o", "APT::Update::Error-Mode=any", "update"]);
        match run(&mut command, &|_| {}) {
            Ok(()) => write(&stamp, ""),
            Err(e) if old.is_none() => Err(e),
            Err(_) => {
                progress("the mirror cannot be reached: going on with the package lists of an earlier day");
                Ok(())
            }
        }
    }

    /// Which packages, in which versions, these names come to; sorted.
    pub(crate) fn resolve(&self, names: &[&str], closure: Closure) -> Result<Vec<Package>, BuildError> {
        let mut packages = match closure {
            Closure::Named => {
                let names: Vec<String> = names.iter().map(|name| self.without_meta(name)).collect();
                let mut command = self.apt("apt-get", Source::Empty);
                command.args(["-qq", "--print-uris", "download"]).args(&names);
                self.listed(&mut command, names.first().map_or("", |name| name))?
            }
            Closure::Dependencies => self.install_list(names, Source::Empty)?,
            Closure::MissingHere => self.install_list(names, Source::Host)?,
        };
        packages.sort();
        packages.dedup();
        Ok(packages)
    }

    /// What an installation of these (names or apt's patterns) would bring along.
    fn install_list(&self, names: &[&str], source: Source) -> Result<Vec<Package>, BuildError> {
        let mut command = self.apt("apt-get", source);
        command.args([
            "-qq",
            "-y",
            "--no-install-recommends",
            "--no-remove",
            "--print-uris",
            "install",
        ]);
        self.listed(command.args(names), names.first().unwrap_or(&""))
    }

    fn listed(&self, command: &mut Command, name: &str) -> Result<Vec<Package>, BuildError> {
        let output = self.output(command, name)?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(package_of)
            .collect())
    }

    /// The kernel that a metapackage depends on, or the name itself.
    fn without_meta(&self, name: &str) -> String {
        let is_meta = name.starts_with("linux-image-")
            && !name["linux-image-".len()..].starts_with(|c: char| c.is_ascii_digit());
        if !is_meta {
            return name.into();
        }
        let output = self.output(self.apt("apt-cache", Source::Empty).args(["depends", name]), name);
        let text = output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        let kernel = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
        kernel.map_or(name.into(), |kernel| format!("linux-image-{kernel}"))
    }

    /// Downloads those of these that are not there whole; the files of all, each checked.
    pub(crate) fn download(&self, packages: &[Package]) -> Result<Vec<PathBuf>, BuildError> {
        let folder = self.folder.join("debs");
        let mut wanted = Vec::new();
        for package in packages {
            if debs::whole(&folder, package)?.is_none() {
                wanted.push(format!("{}={}", package.name, package.version));
            }
        }
        if let Some(first) = wanted.first() {
            let mut command = self.apt("apt-get", Source::Empty);
            self.output(
                command
                    .current_dir(&folder)
                    .args(["-qq", "download"])
                    .args(&wanted),
                first,
            )?;
        }
        let file = |package: &Package| {
            debs::whole(&folder, package)?.ok_or_else(|| {
                self.no_package(
                    &package.name,
                    "what apt fetched does not have the SHA256 of the package lists",
                )
            })
        };
        packages.iter().map(file).collect()
    }

    fn output(&self, command: &mut Command, name: &str) -> Result<Output, BuildError> {
        let output = command
            .output()
            .map_err(|e| self.no_package(name, &format!("apt cannot be run: {e}")))?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("E: ")).collect();
        Err(self.no_package(name, &errors.join("; ")))
    }

    fn no_package(&self, name: &str, why: &str) -> BuildError {
        BuildError::NoPackage {
            name: name.into(),
            suite: self.suite.clone(),
            why: why.into(),
        }
    }
}

/// A line of `--print-uris`: `'URI' NAME_VERSION_ARCH.deb SIZE HASH`.
fn package_of(line: &str) -> Option<Package> {
    let mut fields = line.strip_prefix('\'')?.split(' ');
    let file = fields.nth(1)?.strip_suffix(".deb")?;
    let sha256 = fields.nth(1).and_then(|hash| hash.strip_prefix("SHA256:"));
    let mut parts = file.split('_');
    let (name, version) = (parts.next()?, parts.next()?);
    Some(Package {
        name: name.into(),
        version: version.replace("%3a", ":").replace("%2b", "+"),
        sha256: sha256.unwrap_or_default().into(),
    })
}

fn write(path: &Path, text: &str) -> Result<(), BuildError> {
    fs::write(path, text).map_err(BuildError::io("write", path))
}

#[cfg(test)]
mod tests;
