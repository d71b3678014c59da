//! Where the host's apt gets Debian from.

use std::process::Command;

/// Debian's own, for a host that has none configured.
const MIRROR: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One line of the host's configuration, as `apt-get indextargets` prints it.
fn mirrors(targets: &str) -> (Option<String>, Option<String>) {
    let (mut main, mut security) = (None, None);
    for line in targets.lines() {
        let mut fields = line.split('|');
        let (Some(uri), Some(release), Some("main")) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let uri = uri.trim_end_matches('/');
        let is_security = release.ends_with("-security") || release.contains("-security/");
        // Debian's archive is called so on every mirror; others' releases are not.
        if is_security && uri.contains("debian-security") {
            security.get_or_insert(uri.to_owned());
        } else if !is_security && uri.ends_with("/debian") {
            main.get_or_insert(uri.to_owned());
        }
    }
    (main, security)
}

/// A deb822 source list (sources.list(5)) of `suite`: the host's own mirror, and its keyring.
pub(super) fn of(suite: &str) -> String {
    let format = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
    let targets = Command::new("apt-get")
        .args(["indextargets", "--format", format])
        .output();
    let targets = targets.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let (main, security) = mirrors(&targets.unwrap_or_default());
    // A host with a mirror of Debian but none for security has chosen so.
    let security = security.or_else(|| main.is_none().then(|| SECURITY.to_owned()));
    let main = main.unwrap_or_else(|| MIRROR.to_owned());
    let mut list = stanza(&main, &[suite.to_owned(), format!("{suite}-updates")]);
    if let Some(security) = security {
        list.push('\n');
        list.push_str(&stanza(&security, &[format!("{suite}-security")]));
    }
    list
}

fn stanza(uri: &str, suites: &[String]) -> String {
    let signed = if std::path::Path::new(KEYRING).exists() {
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

    #[test]
    fn the_hosts_mirror_is_used_and_nobody_elses() {
        let targets = "https://example.org/node_20.x/|nodistro|main|\n\
            http://mirror.example/debian/|bookworm|main|\n\
            http://mirror.example/debian-security/|bookworm-security|main|\n\
            http://other.example/debian|bookworm-updates|main|\n\
            http://mirror.example/debian/|bookworm|non-free|\n";
        let expected = (
            "http://mirror.example/debian",
            "http://mirror.example/debian-security",
        );
        assert_eq!(
            mirrors(targets),
            (Some(expected.0.into()), Some(expected.1.into()))
        );
        assert_eq!(mirrors("http://a/ubuntu/|noble|main\n"), (None, None));
    }
}
