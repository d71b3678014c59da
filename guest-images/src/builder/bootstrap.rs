//! Images of an installed Debian.
//!
//! mmdebstrap's tar is the same for root and for a user, and for every order in which a folder is
//! read; so the disk is made of the tar. For a user that happens in a user name space, where the
//! tar's owners exist: mmdebstrap lends its own.
//!
//! ```text
//! mmdebstrap --> tar -x --> mke2fs -d --> image (by its descriptor: homes are closed)
//!               \______ as root, or in `mmdebstrap --unshare-helper` ______/
//! ```

use super::stage::Stage;
use super::{child, ext4};
use crate::BuildError;
use crate::programs::{command, read_lines};
use crate::recipe::Recipe;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What every Debian starts from: the packages that mmdebstrap's variant "minbase" installs, as
/// apt's pattern for the digest.
pub(super) const BASE: &[&str] = &["apt", "?or(?essential,?priority(required))"];

/// Extracts standard input and makes the disk of it: standard output, which mke2fs opens anew.
/// Device nodes are the kernel's to make.
const EXTRACT: &str = r#"set -eu
exec 3>&1 >&2
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
tar -x --numeric-owner --same-owner --same-permissions --xattrs --xattrs-include='*' \
    --exclude='./dev/*' -C "$tree" -f -
size=$1
shift
mke2fs "$@" -d "$tree" /proc/self/fd/3 "$size"
"#;

/// Makes the image; the disk's times are not fixed yet.
pub(super) fn make(
    recipe: &Recipe,
    stage: &Stage,
    source_list: &Path,
    file_system: &ext4::FileSystem,
    image: &Path,
    say: &dyn Fn(&str),
) -> Result<(), BuildError> {
    let is_root = rustix::process::geteuid().is_root();
    let file = file_system.prepare(image)?;
    let mut bootstrap = mmdebstrap(recipe, stage, source_list, file_system, is_root);
    let mut bootstrapping = spawn(bootstrap.stdout(Stdio::piped()))?;
    let Some(tar) = bootstrapping.stdout.take() else {
        return end("mmdebstrap", bootstrapping, say);
    };
    let mut extract = if is_root {
        command("sh")
    } else {
        let mut helper = command("mmdebstrap");
        helper.args(["--unshare-helper", "sh"]);
        helper
    };
    extract
        .args(["-c", EXTRACT, "sh", &file_system.size_argument()])
        .args(file_system.mke2fs_options());
    extract
        .env("TMPDIR", stage.parent())
        .envs(file_system.environment());
    let extracting = spawn(extract.stdin(tar).stdout(file))?;
    // Both write to their pipes: each is read while the other may still wait for it.
    let (bootstrapped, extracted) = std::thread::scope(|scope| {
        let other = scope.spawn(|| end("tar and mke2fs", extracting, &|_| {}));
        let bootstrapped = end("mmdebstrap", bootstrapping, say);
        let extracted = other
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (bootstrapped, extracted)
    });
    // A tar that breaks off is the consequence, not the cause.
    bootstrapped.and(extracted)
}

fn mmdebstrap(
    recipe: &Recipe,
    stage: &Stage,
    source_list: &Path,
    file_system: &ext4::FileSystem,
    is_root: bool,
) -> Command {
    let mut bootstrap = command("mmdebstrap");
    bootstrap.arg(if is_root { "--mode=root" } else { "--mode=unshare" });
    bootstrap.args(["--variant=minbase", "--format=tar", "--dpkgopt=force-unsafe-io"]);
    for option in ["APT::Install-Recommends \"false\"", "Acquire::Languages \"none\""] {
        bootstrap.arg(format!("--aptopt={option}"));
    }
    let architecture = recipe.architecture().debian_name();
    bootstrap.arg(format!("--architectures={architecture}"));
    bootstrap.args(recipe.dpkg_options().map(|option| format!("--dpkgopt={option}")));
    for (name, value) in proxies() {
        bootstrap.arg(format!("--aptopt={name} \"{value}\""));
    }
    let (files, root, esp) = (
        stage.recipe().join("files"),
        file_system.uuid,
        super::disk::esp_id(file_system.uuid),
    );
    for hook in ["essential", "customize"] {
        for script in stage.hooks(recipe, hook) {
            // mmdebstrap gives the line to a shell, with the tree as its first argument.
            bootstrap.arg(format!(
                "--{hook}-hook=umask 022; FILES='{}' ROOT_UUID={root} ESP_ID={esp} sh '{}' \"$1\"",
                files.display(),
                script.display()
            ));
        }
    }
    let packages: Vec<&str> = recipe.packages().collect();
    bootstrap.arg(format!("--include={}", packages.join(",")));
    bootstrap.args([recipe.suite(), "-"]).arg(source_list);
    bootstrap
        .env("TMPDIR", stage.parent())
        .env("SOURCE_DATE_EPOCH", file_system.epoch.to_string());
    bootstrap
}

/// What the host's apt goes through.
fn proxies() -> Vec<(String, String)> {
    let names = ["Acquire::http::Proxy", "Acquire::https::Proxy"];
    let output = command("apt-config").arg("dump").args(names).output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.trim_end_matches(';').split_once(' ')?;
        let value = value.trim_matches('"');
        (names.contains(&name) && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    });
    lines.collect()
}

fn spawn(command: &mut Command) -> Result<Child, BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    child::confine(command);
    command
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| BuildError::Failed {
            program,
            status: e.to_string(),
            last: String::new(),
        })
}

/// Reads a program's errors to their end, and its status.
fn end(program: &str, mut child: Child, say: &dyn Fn(&str)) -> Result<(), BuildError> {
    let say = |line: &str| {
        if let Some(step) = line
            .strip_prefix("I: ")
            .filter(|step| !step.starts_with("running --"))
        {
            say(step);
        }
    };
    let last = child
        .stderr
        .take()
        .map(|errors| read_lines(errors, &say))
        .unwrap_or_default();
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(BuildError::Failed {
            program: program.into(),
            status: status.to_string(),
            last,
        }),
        Err(e) => Err(BuildError::Failed {
            program: program.into(),
            status: e.to_string(),
            last,
        }),
    }
}
