//! What can go wrong between a recipe and its image.

use std::io;
use std::path::{Path, PathBuf};

/// Why an image (or a package) could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No recipe of this name comes with Kiln, and no folder of this name has a `recipe.toml`.
    #[error(
        "there is no recipe {name:?}: neither a folder with a recipe.toml nor one of those that come with Kiln ({known})"
    )]
    NoRecipe {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The recipe cannot be used.
    #[error("the recipe {recipe}: {why}")]
    BadRecipe {
        /// Its name or folder.
        recipe: String,
        /// What is wrong, and where.
        why: String,
    },
    /// Programs that the build needs are not installed.
    #[error("building an image needs {programs}, which this host lacks; to install: {command}")]
    Missing {
        /// Their names.
        programs: String,
        /// The one command that installs them.
        command: String,
    },
    /// The agent's binary is not usable in a guest.
    #[error("the guest agent {path}: {why}")]
    Agent {
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// GRUB cannot be put on the disk.
    #[error("GRUB cannot be put on the disk: {why}")]
    Grub {
        /// What is wrong with its images.
        why: String,
    },
    /// A program that was run failed.
    #[error("{program} failed ({status}){}", said(.last))]
    Failed {
        /// Its name.
        program: String,
        /// Its exit status.
        status: String,
        /// The last lines that it wrote.
        last: String,
    },
    /// A package cannot be had.
    #[error("cannot get the package {name} of Debian {suite}{}", said(.why))]
    NoPackage {
        /// Its name.
        name: String,
        /// The suite.
        suite: String,
        /// What apt said.
        why: String,
    },
    /// The host's apt is configured for no mirror of Debian, and the host lacks Debian's keyring.
    #[error(
        "apt on this host knows no mirror of Debian to get {suite} from, and without Debian's keyring its own mirrors are not used; what to do: install debian-archive-keyring, or add a mirror, whose address ends in /debian, to /etc/apt/sources.list.d"
    )]
    NoMirror {
        /// The suite.
        suite: String,
    },
    /// A file could not be read, written or made.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// In words: "read", "make".
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn said(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

impl BuildError {
    /// For `map_err`: what was done with which path.
    pub(crate) fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BuildError + 'a {
        move |source| BuildError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }
}
