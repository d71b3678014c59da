//! A command that runs in the machine as if it ran here: streams, terminal, signals, working folder,
//! exit status.

use super::Error;
use super::inside::{self, USER_FOLDER, USER_MAP};
use super::start::Lease;
use crate::attach::{self, Input};
use kiln_agent::client::{Agent, AgentError, ExecRequest, ExecStatus, Signals, Unread};
use kiln_control::DataMap;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

/// Variables that a command in the machine gets from here. All others stay here.
const HANDED_ON: &[&str] = &[
    "TERM",
    "NO_COLOR",
    "LANG",
    "LC_ALL",
    "TZ",
    "CI",
    "RUST_BACKTRACE",
    "RUST_LOG",
];
/// The same, by their beginning.
const HANDED_ON_PREFIXES: &[&str] = &["KILN_", "AWS_REGION", "AWS_DEFAULT_REGION"];

/// How long the answer to a short question may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// Runs `argv` and returns how it ended. On a terminal it gets one, else three streams.
pub(crate) fn run(
    lease: &Lease,
    argv: Vec<OsString>,
    cwd: Cwd,
    reads: Input,
    unread: Unread,
    map: Option<DataMap>,
) -> Result<ExecStatus, Error> {
    let map = map.and_then(|map| serde_json::to_string(&map).ok());
    let request = ExecRequest {
        argv,
        env: environment(cwd, map),
        cwd: Some(cwd.inside()?),
        user: None,
        tty: attach::terminal(),
    };
    let failed = |e: AgentError| match e {
        AgentError::Output { ref lost, .. } => Error::new(match in_one_line(lost) {
            // Ids of what has been made, perhaps.
            line if unread == Unread::GoesOn && !line.is_empty() => {
                format!("{e}; it would have said: {line}")
            }
            _ => e.to_string(),
        }),
        // This process', not the machine's.
        AgentError::Io(ref io) if lacks_descriptors(io) => Error::new(e.to_string()),
        _ => Error::new(format!(
            "the software machine broke off ({e}); it is started again by the next command, and instances \
             that ran in it show as stopped"
        )),
    };
    let signals = Signals::catch().map_err(|error| failed(error.into()))?;
    attach::run(
        Agent::connect(lease.agent()?),
        request,
        reads,
        unread,
        &signals,
        None,
    )
    .map_err(failed)
}

/// What `argv` prints, both streams. It reads nothing, and is no command of a user's own.
pub(crate) fn ask(lease: &Lease, argv: Vec<OsString>) -> Result<String, Error> {
    let failed = |error: AgentError| Error::new(format!("the software machine: {error}"));
    let request = ExecRequest {
        argv,
        env: environment(Cwd::Root, None),
        cwd: Some(Cwd::Root.inside()?),
        ..ExecRequest::default()
    };
    let session = Agent::connect(lease.agent()?).exec(request).map_err(failed)?;
    let said = session.capture(&[], ANSWERS_WITHIN).map_err(failed)?;
    let text = [said.stdout, said.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Whether an error is that this process, or this host, has as many files open as it may.
fn lacks_descriptors(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// What a command printed, as far as it fits an error.
fn in_one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

/// Where a command begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cwd {
    /// In this process' working folder, as the machine sees it.
    Same,
    /// In the machine's own root.
    Root,
}

impl Cwd {
    fn inside(self) -> Result<PathBuf, Error> {
        match self {
            Cwd::Root => Ok(PathBuf::from("/")),
            // What lies somewhere else in the machine would be nowhere here.
            Cwd::Same => match std::env::current_dir() {
                Ok(here) => Ok(inside::place_of(&here)),
                Err(error) => Err(Error::of_parameter(format!(
                    "the folder that this command was started in cannot be found ({error}): change into another one"
                ))),
            },
        }
    }
}

fn environment(cwd: Cwd, map: Option<String>) -> Vec<(OsString, OsString)> {
    let mut all: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| is_handed_on(name))
        .collect();
    // The machine's own words win: they come last.
    let own = ["KILN_HOME", "KILN_ACCEL", USER_FOLDER, USER_MAP];
    all.retain(|(name, _)| !own.iter().any(|own| name == own));
    all.push(("KILN_HOME".into(), inside::STORE.into()));
    all.push(("KILN_ACCEL".into(), "kvm".into()));
    if cwd == Cwd::Same
        && let Ok(here) = std::env::current_dir()
    {
        all.push((USER_FOLDER.into(), here.into()));
    }
    all.extend(map.map(|map| (USER_MAP.into(), map.into())));
    all
}

fn is_handed_on(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        HANDED_ON.contains(&name) || HANDED_ON_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn only_what_a_command_needs_is_handed_on() {
        for (name, yes) in [
            ("TERM", true),
            ("KILN_REGION", true),
            ("AWS_DEFAULT_REGION", true),
            ("AWS_SECRET_ACCESS_KEY", false),
            ("PATH", false),
            ("LD_PRELOAD", false),
        ] {
            assert_eq!(is_handed_on(OsStr::new(name)), yes, "{name}");
        }
    }

    #[test]
    fn a_path_of_the_host_is_below_host() {
        assert_eq!(
            inside::place_of(Path::new("/home/me/x.raw")),
            Path::new("/host/home/me/x.raw")
        );
    }
}
