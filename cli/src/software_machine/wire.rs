//! What a command and the supervisor say to each other: one JSON object a line.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

/// The first line of a connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Keep the machine running as long as this connection is open. [`Reply::Starting`] lines until
    /// [`Reply::Ready`] or [`Reply::Failed`].
    Lease {
        /// The programs that the caller wants to run there.
        programs: ProgramsWanted,
    },
    /// How is it?
    Status,
    /// End it. The reply comes when it has ended.
    Stop,
}

/// The static programs beside the calling `kiln`: if they are other ones than the machine carries,
/// they are copied into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramsWanted {
    /// Where they lie on the host.
    pub(crate) folder: PathBuf,
    /// Differs when they were built anew.
    pub(crate) stamp: String,
}

/// What the supervisor answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// Not yet; a word on what happens.
    Starting {
        /// For people.
        what: String,
    },
    /// Go on.
    Ready {
        /// Set if the machine had died and was started again since the last lease.
        restarted: Option<String>,
    },
    /// It has ended, because somebody asked for that: the next one may be started.
    Ended,
    /// It will not work.
    Failed {
        /// For people.
        message: String,
    },
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Stop`].
    Stopped,
}

/// A running machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Status {
    /// `starting` or `running`.
    pub(crate) state: String,
    /// Seconds since its supervisor began.
    pub(crate) uptime_seconds: u64,
    /// Memory in bytes.
    pub(crate) memory: u64,
    /// Virtual processors.
    pub(crate) cpus: u32,
    /// Bound of its disk in bytes; supervisors of older programs do not tell it.
    #[serde(default)]
    pub(crate) disk: Option<u64>,
    /// Commands that use it at this moment.
    pub(crate) commands: usize,
    /// How often it had to be started again, and why the last time.
    pub(crate) restarts: u32,
    /// Why it was started again the last time.
    pub(crate) last_failure: Option<String>,
}

/// Writes one line.
pub(crate) fn send<T: Serialize>(mut to: impl Write, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Reads one line; none at the end of the stream, also where the other side went away without reading what it was sent.
pub(crate) fn receive<T: DeserializeOwned>(from: impl BufRead) -> io::Result<Option<T>> {
    /// A line is short; whoever sends more is not one of us.
    const LIMIT: u64 = 64 * 1024;
    let mut line = String::new();
    match from.take(LIMIT).read_line(&mut line) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(serde_json::from_str(&line)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_supervisor_that_goes_away_with_a_request_unread_is_the_end_and_no_failure() {
        let (here, there) = UnixStream::pair().expect("a pair");
        send(&here, &Request::Status).expect("room");
        drop(there);
        let answer: Option<Reply> = receive(BufReader::new(&here)).expect("the end");
        assert!(answer.is_none());
    }

    #[test]
    fn a_supervisor_of_older_programs_can_be_asked_how_it_is() {
        let line = br#"{"State":"running","UptimeSeconds":7,"Memory":1,"Cpus":1,"Commands":0,"Restarts":0,"LastFailure":null}"#;
        let status: Option<Status> = receive(&line[..]).expect("it is understood");
        assert_eq!(status.expect("a status").disk, None);
    }
}
