//! Debian's own tools for tests: packages of a suite, unpacked and not installed, whose programs run in a root
//! of their own, as any user.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kiln_guest_images::packages::{Architecture, Closure, fetch_with};

/// What scripts take for granted, so that no package depends on it.
const ESSENTIAL: &[&str] = &[
    "base-files",
    "coreutils",
    "dash",
    "diffutils",
    "grep",
    "perl-base",
    "sed",
];

/// The tools, and what makes unified kernel images: Debian 12 has no `ukify`.
const BOOKWORM: &[&str] = &["u-boot-menu", "systemd-boot-efi", "binutils"];
const TRIXIE: &[&str] = &["u-boot-menu", "systemd-boot-efi", "systemd-ukify"];

/// In a mount namespace: what the root has not itself is the packages'; each folder that is named at the end
/// is a file system of its own.
const ENTER: &str = r#"set -e; tree=$1 root=$2 script=$3; shift 3
    for from in "$tree"/*; do
        to=$root/${from##*/}
        if [ -L "$from" ]; then cp -P "$from" "$to"
        elif [ ! -e "$to" ]; then mkdir "$to" && mount --bind "$from" "$to"
        fi
    done
    for own; do mount -t tmpfs own "$root/$own"; done
    exec chroot "$root" /bin/sh -ec "$script""#;

/// A root with the tools of a suite; its `/boot`, `/etc` and `/tmp` begin empty.
pub(crate) struct Debian {
    tree: &'static Path,
    root: tempfile::TempDir,
}

impl Debian {
    /// Of `bookworm` or of `trixie`.
    pub(crate) fn of(suite: &str) -> Debian {
        let root = tempfile::tempdir().unwrap();
        for folder in ["boot", "etc", "tmp"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        // apt is asked once for each suite.
        static TREES: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
        let (tree, tools) = match suite {
            "bookworm" => (&TREES[0], BOOKWORM),
            "trixie" => (&TREES[1], TRIXIE),
            other => panic!("{other}: no tools of it are known"),
        };
        let tree = tree.get_or_init(|| fetched(suite, tools));
        Debian { tree, root }
    }

    /// Where a file of the root lies on this host.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside.trim_start_matches('/'))
    }

    /// What the script prints; the folders `own` are file systems of their own, which end with it.
    pub(crate) fn sh(&self, own: &[&str], script: &str) -> Vec<u8> {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", ENTER, "sh"]).arg(self.tree);
        command.arg(self.root.path()).arg(script).args(own);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            // The packages are not to be written.
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("unshare: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {}: {said}", output.status);
        output.stdout
    }
}

/// The packages' files: in the cache, where they stay.
fn fetched(suite: &str, tools: &[&str]) -> PathBuf {
    let cache = cache();
    let names = [ESSENTIAL, tools].concat();
    match fetch_with(
        &names,
        suite,
        Architecture::HOST,
        Closure::Dependencies,
        &cache,
        &|_| {},
    ) {
        Ok(fetched) => fetched.tree,
        Err(error) => panic!(
            "the tools that write menus: {error}\n   what to do: let this host's apt reach a mirror of Debian, once; \
             they stay in {}",
            cache.display()
        ),
    }
}

fn cache() -> PathBuf {
    let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let own = own.filter(|path| path.is_absolute());
    let home = || std::env::home_dir().unwrap_or_else(|| Path::new("/").to_owned());
    own.unwrap_or_else(|| home().join(".cache")).join("kiln")
}
