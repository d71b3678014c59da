//! The programs that a build runs: whether they are there, and how they are run.

use crate::BuildError;
use crate::host;
use crate::recipe::Kind;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Where they are; an ordinary user's PATH lacks the half of it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Lines of a failed program's output that its error repeats.
const LAST: usize = 4;
/// How apt and mmdebstrap begin a line that says what is wrong; others follow it, or stand in between.
const WRONG: &str = "E: ";

const NEEDED: [&str; 7] = [
    "apt-get", "dpkg-deb", "mke2fs", "debugfs", "dumpe2fs", "e2image", "tar",
];
const BOOTSTRAP: [&str; 2] = ["mmdebstrap", "gpgv"];
/// Of a bootstrap by who is not root.
const USER: [&str; 1] = ["newuidmap"];

/// What this host lacks to build an image of this kind, if anything, as the error to show: it
/// names the one command that helps.
pub fn missing_programs(kind: Kind) -> Option<BuildError> {
    let mut needed = NEEDED.to_vec();
    if kind == Kind::Bootstrap {
        needed.extend(BOOTSTRAP);
        if !rustix::process::geteuid().is_root() {
            needed.extend(USER);
        }
    }
    needed.retain(|program| !is_there(program));
    if needed.is_empty() {
        return None;
    }
    Some(BuildError::Missing {
        programs: needed.join(", "),
        command: host::to_install(&needed),
    })
}

fn is_there(program: &str) -> bool {
    PATH.split(':')
        .any(|folder| Path::new(folder).join(program).is_file())
}

/// A command with the path and the language that builds use.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", PATH).env("LC_ALL", "C").env("TZ", "UTC");
    command
}

/// Runs a program to its end. Each line of its errors goes to `line`; a failure repeats the last.
pub(crate) fn run(command: &mut Command, line: &dyn Fn(&str)) -> Result<(), BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let failed = |status: String, last: String| BuildError::Failed {
        program: program.clone(),
        status,
        last,
    };
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string(), String::new()))?;
    let last = child
        .stderr
        .take()
        .map(|errors| read_lines(errors, line))
        .unwrap_or_default();
    let status = child.wait().map_err(|e| failed(e.to_string(), String::new()))?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(status.to_string(), last))
    }
}

/// Reads to the end; what an error repeats: the first lines that say what is wrong, else the last ones.
pub(crate) fn read_lines(from: impl std::io::Read, line: &dyn Fn(&str)) -> String {
    let mut last = std::collections::VecDeque::new();
    let mut wrong = Vec::new();
    let mut reader = BufReader::new(from);
    let mut bytes = Vec::new();
    while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        line(&text);
        if text.starts_with(WRONG) && wrong.len() < LAST {
            wrong.push(text.clone());
        }
        if !text.is_empty() {
            last.push_back(text);
        }
        if last.len() > LAST {
            last.pop_front();
        }
    }
    let told = if wrong.is_empty() { last.into() } else { wrong };
    told.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_repeats_what_says_what_is_wrong_else_the_last_lines() {
        let told = |text: &str| read_lines(text.as_bytes(), &|_| {});
        let update = "E: Failed to fetch http://a.example/Packages  File has unexpected size\n   Hashes of expected file:\n\
                      \x20   - Filesize:1\n    - SHA256:2\n   Release file created at: today\nE: Some index files failed\n";
        assert_eq!(
            told(update),
            "E: Failed to fetch http://a.example/Packages  File has unexpected size | E: Some index files failed"
        );
        assert_eq!(told("1\n2\n\n3\n4\n5\n"), "2 | 3 | 4 | 5");
    }
}
