//! Debian packages, unpacked into the cache: no root, nothing installed, nothing of the user's touched.

use super::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Downloads packages by the host's own apt configuration and unpacks them into `tree`.
///
/// `tree` appears only when it is complete; if it is there, nothing is done.
pub(crate) fn fetch(names: &[String], tree: &Path) -> Result<(), Error> {
    if tree.exists() {
        return Ok(());
    }
    let new = tree.with_extension("new");
    let archives = tree.with_extension("deb");
    for folder in [&new, &archives] {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, &e))?;
    }
    let mut download = apt("apt-get");
    download
        .args(["download", "-qq"])
        .args(names)
        .current_dir(&archives);
    run(&mut download)?;
    for archive in archives
        .read_dir()
        .map_err(|e| Error::io("read", &archives, &e))?
    {
        let archive = archive.map_err(|e| Error::io("read", &archives, &e))?.path();
        run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&new))?;
    }
    let _ = std::fs::remove_dir_all(&archives);
    std::fs::rename(&new, tree).map_err(|e| Error::io("rename", &new, &e))
}

/// What a metapackage depends on first: the kernel that `linux-image-amd64` stands for.
pub(crate) fn first_dependency(package: &str) -> Result<String, Error> {
    let output = run(apt("apt-cache").args(["depends", package]))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: ").map(str::to_owned))
        .ok_or_else(|| {
            Error::new(format!(
                "apt knows no package {package}; run `apt-get update`, then try again"
            ))
        })
}

fn apt(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C");
    if rustix::process::geteuid().is_root() {
        // The user _apt cannot write into a folder below root's home.
        command.args(["-o", "APT::Sandbox::User=root"]);
    }
    command
}

fn run(command: &mut Command) -> Result<Output, Error> {
    let name = PathBuf::from(command.get_program()).display().to_string();
    let output = command.output().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::new(format!(
            "the software machine takes its kernel from Debian's packages, and this host has no {name}"
        )),
        _ => Error::new(format!("cannot run {name}: {e}")),
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said
        .lines()
        .find(|line| line.starts_with("E:"))
        .or(said.lines().last())
        .unwrap_or("no message");
    Err(Error::new(format!("{name} failed: {first}")))
}
