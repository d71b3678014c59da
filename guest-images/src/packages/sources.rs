//! Where the host's apt gets Debian from.

use crate::BuildError;
use std::path::Path;
use std::process::Command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Debian's own mirrors, of its archive and of its security updates.
const DEBIAN: [&str; 2] = [
    "http://deb.debian.org/debian",
    "http://deb.debian.org/debian-security",
];
/// How the suites are called that bring newer versions to a release.
pub(super) const BACKPORTS: &str = "-backports";

/// What is asked of `apt-get indextargets` about each list.
const FORMAT: &str = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)";

/// What apt says of whose a list is that is not there.
const UNTOLD: &str = "$(ORIGIN)";

/// The mirrors of Debian and of its security updates in the host's configuration, whose lines are
/// as `apt-get indextargets` prints them in [`FORMAT`]. `read` reads a list of mirrors
/// (apt-transport-mirror(1)).
fn mirrors(targets: &str, read: impl Fn(&str) -> Option<String>) -> (Option<String>, Option<String>) {
    let (mut main, mut security) = (None, None);
    for line in targets.lines() {
        let mut fields = line.split('|');
        let (Some(uri), Some(release), Some("main")) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if !matches!(fields.next(), Some("Debian" | UNTOLD)) {
            continue;
        }
        let Some(uri) = one_of(uri.trim_end_matches('/'), &read) else {
            continue;
        };
        let is_security = release.ends_with("-security") || release.contains("-security/");
        // Debian's archive is called so on every mirror; others' releases are not.
        if is_security && uri.contains("debian-security") {
            security.get_or_insert(uri);
        } else if !is_security && uri.ends_with("/debian") {
            main.get_or_insert(uri);
        }
    }
    (main, security)
}

/// The address itself, or the first of the list of mirrors that it names.
fn one_of(uri: &str, read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let Some(list) = uri.strip_prefix("mirror+file:") else {
        return Some(uri.to_owned());
    };
    // One slash or three before the path are the same.
    let list = read(&format!("/{}", list.trim_start_matches('/')))?;
    let mut lines = list
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next()?.split_whitespace().next()?;
    Some(first.trim_end_matches('/').to_owned())
}

/// A deb822 source list (sources.list(5)) of `suite`: the host's own mirror, or Debian's, and the
/// keyring. A suite of backports comes with the release that it extends. apt's temporary files go to
/// `scratch`.
///
/// # Errors
/// [`BuildError::NoMirror`]: the host's apt knows none, and the host lacks Debian's keyring.
/// [`BuildError::Failed`]: apt cannot be run.
pub(super) fn of(suite: &str, scratch: &Path) -> Result<String, BuildError> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    // Of lists that are there, apt knows whose they are: others call their archives `debian`, too.
    let known = mirrors(&targets(scratch, &[])?, read);
    let named = mirrors(&targets(scratch, &["--no-release-info"])?, read);
    let all = (known.0.or(named.0), known.1.or(named.1));
    let (main, security) =
        or_debians(all, Path::new(KEYRING)).ok_or_else(|| BuildError::NoMirror { suite: suite.into() })?;
    Ok(stanzas(suite, &main, security.as_deref()))
}

/// What the host's apt gets from where; without `--no-release-info`, as far as it has its lists.
fn targets(scratch: &Path, options: &[&str]) -> Result<String, BuildError> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", FORMAT])
        .args(options)
        .env("TMPDIR", scratch)
        .output()
        .map_err(|e| BuildError::Failed {
            program: "apt-get".into(),
            status: e.to_string(),
            last: String::new(),
        })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The host's mirrors; Debian's own where it has none and could check what comes from them.
fn or_debians(known: (Option<String>, Option<String>), keyring: &Path) -> Option<(String, Option<String>)> {
    match known {
        (Some(main), security) => Some((main, security)),
        (None, security) => keyring.exists().then(|| {
            let [main, updates] = DEBIAN.map(str::to_owned);
            (main, Some(security.unwrap_or(updates)))
        }),
    }
}

fn stanzas(suite: &str, main: &str, security: Option<&str>) -> String {
    let release = suite.strip_suffix(BACKPORTS).unwrap_or(suite);
    let mut suites = vec![release.to_owned(), format!("{release}-updates")];
    if release != suite {
        suites.push(suite.to_owned());
    }
    let mut list = stanza(main, &suites);
    // A host with a mirror of Debian but none for security has chosen so.
    if let Some(security) = security {
        list.push('\n');
        list.push_str(&stanza(security, &[format!("{release}-security")]));
    }
    list
}

fn stanza(uri: &str, suites: &[String]) -> String {
    let signed = if Path::new(KEYRING).exists() {
        format!("Signed-By: {KEYRING}\n")
    } else {
        String::new() // apt's own trusted keys
    };
    format!(
        "Types: deb\nURIs: {uri}\nSuites: {}\nComponents: main\n{signed}",
        suites.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on a host with a source and none of its lists, as in a container.
    #[test]
    fn a_mirror_is_known_before_its_lists_are_there() {
        let etc = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(etc.path().join(name), text).unwrap();
        std::fs::create_dir(etc.path().join("lists")).unwrap();
        write(
            "list",
            "deb [trusted=yes] http://mirror.example/debian bookworm main\n",
        );
        let lines = [
            "Dir::Etc::SourceList",
            "Dir::Etc::SourceParts",
            "Dir::State::Lists",
        ]
        .into_iter()
        .zip(["list", "none", "lists"])
        .map(|(name, file)| format!("{name} \"{}\";\n", etc.path().join(file).display()));
        write("apt.conf", &lines.collect::<String>());
        let output = Command::new("apt-get")
            .args(["indextargets", "--format", FORMAT, "--no-release-info"])
            .env("APT_CONFIG", etc.path().join("apt.conf"))
            .output()
            .unwrap();
        let targets = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            mirrors(&targets, |_| None),
            (Some("http://mirror.example/debian".into()), None),
            "{targets}"
        );
    }

    #[test]
    fn the_hosts_mirror_is_used_and_nobody_elses() {
        let targets = "https://example.org/node_20.x/|nodistro|main|$(ORIGIN)\n\
            http://mirror.example/debian/|bookworm|main|$(ORIGIN)\n\
            http://mirror.example/debian-security/|bookworm-security|main|$(ORIGIN)\n\
            http://other.example/debian|bookworm-updates|main|$(ORIGIN)\n\
            http://mirror.example/debian/|bookworm|non-free|$(ORIGIN)\n";
        let expected = (
            "http://mirror.example/debian",
            "http://mirror.example/debian-security",
        );
        assert_eq!(
            mirrors(targets, |_| None),
            (Some(expected.0.into()), Some(expected.1.into()))
        );
        assert_eq!(
            mirrors("http://a/ubuntu/|noble|main|Ubuntu\n", |_| None),
            (None, None)
        );
    }

    #[test]
    fn an_archive_of_somebody_else_that_is_called_debian_is_none_of_debians() {
        let targets = "https://pkgs.example/stable/debian/|bookworm|main|Example\n\
            http://mirror.example/debian/|bookworm|main|Debian\n";
        assert_eq!(
            mirrors(targets, |_| None),
            (Some("http://mirror.example/debian".into()), None)
        );
    }

    #[test]
    fn a_host_of_another_distribution_uses_debians_mirrors_if_it_has_the_keyring() {
        let ubuntu = || mirrors("http://a/ubuntu/|noble|main|Ubuntu\n", |_| None);
        let keyring = tempfile::NamedTempFile::new().unwrap();
        let (main, security) = or_debians(ubuntu(), keyring.path()).unwrap();
        assert_eq!(main, "http://deb.debian.org/debian");
        assert_eq!(security.as_deref(), Some("http://deb.debian.org/debian-security"));
        assert_eq!(or_debians(ubuntu(), Path::new("/no/such/keyring")), None);
        let own = (Some("http://mirror.example/debian".to_owned()), None);
        assert_eq!(
            or_debians(own, keyring.path()),
            Some(("http://mirror.example/debian".to_owned(), None))
        );
        let error = BuildError::NoMirror {
            suite: "trixie".into(),
        };
        assert!(error.to_string().contains("install debian-archive-keyring"));
    }

    #[test]
    fn backports_come_with_the_release_that_they_extend() {
        let suites = |suite: &str| -> Vec<String> {
            let list = stanzas(suite, "http://a/debian", Some("http://a/debian-security"));
            let lines = list.lines().filter_map(|line| line.strip_prefix("Suites: "));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(suites("trixie"), ["trixie trixie-updates", "trixie-security"]);
        assert_eq!(
            suites("trixie-backports"),
            ["trixie trixie-updates trixie-backports", "trixie-security"]
        );
    }

    #[test]
    fn of_a_list_of_mirrors_the_first_is_used() {
        let targets = "mirror+file:/etc/apt/mirrors/debian.list/|bookworm|main|Debian\n\
            mirror+file:///etc/apt/mirrors/debian-security.list|bookworm-security|main|Debian\n";
        let read = |path: &str| match path {
            "/etc/apt/mirrors/debian.list" => Some(
                "# nearest first\n\nhttps://mirror.example/debian/\tpriority:1\nhttps://b.example/debian\n"
                    .into(),
            ),
            _ => None,
        };
        assert_eq!(
            mirrors(targets, read),
            (Some("https://mirror.example/debian".into()), None)
        );
    }
}
