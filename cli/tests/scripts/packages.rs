//! What the host lacks, installed or told.

use super::{Clone, Ended, ended};
use std::fs;
use std::process::Command;

/// A host with Debian's package manager that lacks this program, as somebody without root sees it.
pub(super) struct Lacking {
    pub(super) clone: Clone,
}

impl Lacking {
    pub(super) fn new(program: &str) -> Lacking {
        let clone = Clone::new().with_links(&["bash", "dirname", "grep", "awk", "mkdir", "cp"]);
        let there = ["apt-get", "mmdebstrap", "gpgv", "mke2fs", "newuidmap"];
        for name in there.into_iter().filter(|name| *name != program) {
            clone.program(&format!("bin/{name}"), "exit 0");
        }
        clone.program("bin/id", "echo 1000");
        clone.program("bin/sudo", "echo \"as root: $*\" >>\"${0%/*}/ran\"");
        Lacking { clone }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.clone.path("scripts/packages.sh"));
        command
            .arg("guest-images")
            .env_clear()
            .env("PATH", self.clone.path("bin"));
        command
    }

    /// The same, on a terminal, where somebody answers.
    fn asked(&self, answer: &str) -> Ended {
        let line = format!(
            "{} guest-images",
            self.clone.path("scripts/packages.sh").display()
        );
        let mut command = Command::new("/usr/bin/script");
        command
            .args(["-qec", &line, "/dev/null"])
            .env_clear()
            .env("SHELL", "/bin/sh")
            .env("PATH", self.clone.path("bin"));
        ended(&mut command, answer)
    }

    /// What was run as root.
    fn ran(&self) -> String {
        fs::read_to_string(self.clone.path("bin/ran")).unwrap_or_default()
    }
}

#[test]
fn a_host_that_lacks_nothing_is_left_alone() {
    let host = Lacking::new("nothing");
    let done = ended(&mut host.command(), "");
    assert_eq!((done.status, &*done.said, &*host.ran()), (Some(0), "", ""));
}

#[test]
fn without_root_or_a_terminal_the_one_command_is_printed_and_nothing_is_installed() {
    let host = Lacking::new("mmdebstrap");
    let refused = ended(&mut host.command(), "y\n");
    assert_eq!(refused.status, Some(1), "{}", refused.said);
    assert!(
        refused
            .said
            .contains("as root: apt-get install --no-install-recommends --no-remove mmdebstrap\n"),
        "only what lacks, and nothing may go for it: {}",
        refused.said
    );
    assert_eq!(host.ran(), "");
}

#[test]
fn other_distributions_are_told_their_own_names_of_packages() {
    let host = Lacking::new("gpgv");
    for (id, says) in [
        (
            "ID=fedora",
            "dnf install --setopt=install_weak_deps=False gnupg2\n",
        ),
        ("ID=manjaro\nID_LIKE=arch", "pacman -S --needed gnupg\n"),
        (
            "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"",
            "zypper install --no-recommends gpg2\n",
        ),
        ("ID=void", "with this host's package manager: install gpgv\n"),
    ] {
        let os_release = host.clone.path("os-release");
        fs::write(&os_release, id).expect("a file");
        let told = ended(host.command().env("OS_RELEASE", &os_release), "y\n");
        assert_eq!(told.status, Some(1));
        assert!(told.said.ends_with(says), "{id}: {}", told.said);
        assert_eq!(host.ran(), "");
    }
}

#[test]
fn sudo_runs_only_after_a_yes() {
    let host = Lacking::new("mmdebstrap");
    let refused = host.asked("n\n");
    assert_ne!(refused.status, Some(0), "{}", refused.said);
    assert!(refused.said.contains("with sudo?"), "{}", refused.said);
    assert_eq!(host.ran(), "", "{}", refused.said);
    let installed = host.asked("y\n");
    assert_eq!(installed.status, Some(0), "{}", installed.said);
    let ran = host.ran();
    let install = ran.lines().last().unwrap_or_default();
    assert!(
        install.contains(" install ") && install.contains("--no-remove") && install.ends_with(" mmdebstrap"),
        "{ran}"
    );
}
