//! The host's distribution: which of its packages has a program, and the one command that installs it.
//!
//! The table is `packages.tsv`; `scripts/packages.sh` reads it, too.

use std::path::Path;

const TABLE: &str = include_str!("packages.tsv");

/// Distributions that share names of packages and the way to install them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Debian,
    Fedora,
    Arch,
    Suse,
}

impl Family {
    /// By `ID` and `ID_LIKE` of os-release(5), the nearer first.
    fn of(os_release: &str) -> Option<Family> {
        let value = |name: &str| {
            os_release
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .map(|value| value.trim_matches(['"', '\'']))
        };
        ["ID", "ID_LIKE"]
            .into_iter()
            .filter_map(value)
            .flat_map(str::split_whitespace)
            .find_map(|id| match id {
                "debian" | "ubuntu" => Some(Family::Debian),
                "fedora" | "rhel" | "centos" => Some(Family::Fedora),
                "arch" => Some(Family::Arch),
                "suse" | "opensuse" => Some(Family::Suse),
                _ if id.starts_with("opensuse-") => Some(Family::Suse),
                _ => None,
            })
    }

    /// The package that has a program, if there is one.
    fn package(self, program: &str) -> Option<&'static str> {
        let column = match self {
            Family::Debian => 1,
            Family::Fedora => 2,
            Family::Arch => 3,
            Family::Suse => 4,
        };
        let mut rows = TABLE.lines().map(|row| row.split('\t'));
        let mut row = rows.find(|row| row.clone().next() == Some(program))?;
        row.nth(column).filter(|package| *package != "-")
    }

    fn install(self) -> &'static str {
        match self {
            Family::Debian => "apt-get install --no-install-recommends --no-remove",
            Family::Fedora => "dnf install --setopt=install_weak_deps=False",
            Family::Arch => "pacman -S --needed",
            Family::Suse => "zypper install --no-recommends",
        }
    }
}

/// How programs are installed on this host: one command, and what no package of it has.
pub fn to_install(programs: &[&str]) -> String {
    let os_release = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read_to_string(Path::new(path)).ok());
    let family = os_release.as_deref().and_then(Family::of);
    command(family, programs, rustix::process::geteuid().is_root())
}

fn command(family: Option<Family>, programs: &[&str], is_root: bool) -> String {
    let Some(family) = family else {
        return format!("install {} with this host's package manager", programs.join(", "));
    };
    let (mut packages, mut without) = (Vec::new(), Vec::new());
    for program in programs {
        match family.package(program) {
            Some(package) if packages.contains(&package) => {}
            Some(package) => packages.push(package),
            None => without.push(*program),
        }
    }
    let sudo = if is_root { "" } else { "sudo " };
    let mut steps = Vec::new();
    if !packages.is_empty() {
        steps.push(format!("{sudo}{} {}", family.install(), packages.join(" ")));
    }
    if !without.is_empty() {
        steps.push(format!(
            "install {}, which this distribution may not package",
            without.join(", ")
        ));
    }
    steps.join("; then ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_known_by_its_id_or_what_it_is_like() {
        for (os_release, family) in [
            ("NAME=x\nID=debian\n", Some(Family::Debian)),
            ("ID=ubuntu\nID_LIKE=debian\n", Some(Family::Debian)),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Some(Family::Debian)),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                Some(Family::Fedora),
            ),
            ("ID=arch\n", Some(Family::Arch)),
            (
                "ID=opensuse-tumbleweed\nID_LIKE=\"opensuse suse\"\n",
                Some(Family::Suse),
            ),
            ("ID=void\n", None),
            ("", None),
        ] {
            assert_eq!(Family::of(os_release), family, "{os_release}");
        }
    }

    #[test]
    fn programs_are_installed_by_the_names_that_the_distribution_gives_their_packages() {
        let lacks = ["mke2fs", "debugfs", "gpgv", "mmdebstrap"];
        for (family, is_root, expected) in [
            (
                Some(Family::Debian),
                true,
                "apt-get install --no-install-recommends --no-remove e2fsprogs gpgv mmdebstrap",
            ),
            (
                Some(Family::Fedora),
                false,
                "sudo dnf install --setopt=install_weak_deps=False e2fsprogs gnupg2 mmdebstrap",
            ),
            (
                Some(Family::Arch),
                true,
                "pacman -S --needed e2fsprogs gnupg; then install mmdebstrap, which this distribution may not package",
            ),
            (
                None,
                true,
                "install mke2fs, debugfs, gpgv, mmdebstrap with this host's package manager",
            ),
        ] {
            assert_eq!(command(family, &lacks, is_root), expected);
        }
    }

    #[test]
    fn the_table_has_a_column_for_each_family() {
        for row in TABLE.lines().filter(|row| !row.starts_with('#')) {
            assert_eq!(
                row.split('\t').filter(|cell| !cell.is_empty()).count(),
                5,
                "{row}"
            );
        }
    }
}
