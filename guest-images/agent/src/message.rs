//! The JSON messages inside the frames: requests, replies, and an exec's events.

use crate::frame::{Frame, MAX_MESSAGE, MORE, MessageError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;

/// The protocol's version, in every [`Greeting`]. A change that an older peer would misread
/// raises it.
pub const PROTOCOL: u32 = 1;

/// The first message on a stream, each way, after the resync marker; the host repeats its own
/// until it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`PROTOCOL`].
    pub version: u32,
    /// Chosen by the host for each time it takes up the port; the agent echoes the last it saw.
    /// A new one tells the agent to end what an earlier host had asked for.
    pub epoch: u64,
    /// Chosen by the agent at its start; 0 from the host. A new one tells the host that the agent
    /// it spoke with is gone.
    pub session: u64,
}

/// Bytes of a seed: what the kernel's generator is keyed with.
pub const SEED_LEN: usize = 32;

/// What the host asks for, on a fresh channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    /// Who is there: answered by [`Reply::Hello`].
    Hello,
    /// Run a command: answered by streams and [`Exit`], not by a reply.
    Exec(ExecRequest),
    /// Sync and freeze all block-backed file systems; they thaw by themselves at the deadline or
    /// when this channel is closed. Answered by [`Reply::Frozen`].
    Freeze {
        /// Milliseconds until they thaw by themselves.
        deadline_ms: u64,
    },
    /// Thaw what was frozen: [`Reply::Thawed`].
    Thaw,
    /// End the guest: [`Reply::Done`] as soon as that is under way.
    Shutdown {
        /// How.
        mode: ShutdownMode,
    },
    /// Write everything back to the disks: [`Reply::Done`] afterwards.
    Sync,
    /// Set the wall clock: [`Reply::Done`] afterwards.
    SetClock {
        /// What it is to show, in nanoseconds after 1970.
        unix_ns: u64,
    },
    /// Mix these bytes into the kernel's random numbers, and seed them anew: [`Reply::Done`] afterwards.
    Seed {
        /// Random bytes of the host.
        bytes: [u8; SEED_LEN],
    },
}

/// How the guest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownMode {
    /// Off.
    Poweroff,
    /// Off and on again.
    Reboot,
}

/// The agent's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// To [`Request::Freeze`].
    Frozen {
        /// File systems frozen.
        count: u32,
    },
    /// To [`Request::Thaw`].
    Thawed {
        /// File systems thawed; 0 if the deadline had done it already.
        count: u32,
    },
    /// To the rest.
    Done,
    /// What was asked for was not done.
    Error(Failure),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub kind: FailureKind,
    /// For people: what, which and why.
    pub message: String,
}

/// The kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The command does not exist (a shell's 127).
    NotFound,
    /// The command exists and cannot be executed (a shell's 126).
    NotExecutable,
    /// The working directory is not there.
    NoDirectory,
    /// The user is unknown in the guest.
    NoUser,
    /// A file system could not be frozen or thawed.
    Freeze,
    /// The channel or the agent is occupied.
    Busy,
    /// The request was not understood.
    Malformed,
    /// The system call failed.
    System,
    /// A kind that this side does not know yet.
    #[serde(other)]
    Other,
}

/// Who answers: [`Reply::Hello`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// The agent's version.
    pub version: String,
    /// The kernel's id of this boot: changes with each.
    pub boot_id: String,
    /// The guest's host name.
    pub hostname: String,
    /// `PRETTY_NAME` of its os-release, or empty.
    pub os: String,
    /// The kernel's release.
    pub kernel: String,
    /// The machine, as in `uname -m`.
    pub machine: String,
    /// Since the guest's kernel started.
    pub uptime_ms: u64,
}

/// A command to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecRequest {
    /// The program (looked up in the PATH of its environment) and its arguments. Not empty.
    #[serde(with = "bytes::list")]
    pub argv: Vec<OsString>,
    /// Added to the small environment that the agent gives each command (PATH, HOME, USER, SHELL).
    #[serde(with = "bytes::pairs")]
    pub env: Vec<(OsString, OsString)>,
    /// Working directory; the user's home without one.
    #[serde(with = "bytes::path")]
    pub cwd: Option<PathBuf>,
    /// User to run as, by name or number, with its groups; the agent's own (root) without one.
    pub user: Option<String>,
    /// Run on a terminal of its own: input, output and errors are then one stream.
    pub tty: Option<Terminal>,
}

/// The terminal of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Its size at the start.
    #[serde(flatten)]
    pub size: Size,
    /// `TERM` of the command; "linux" is a safe choice.
    pub term: String,
}

/// A terminal's size, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// A signal for the command's process group (with a terminal: its foreground group).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Linux' number.
    pub signal: i32,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It returned.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It never ran.
    Error(Failure),
}

/// Puts a message of several frames together.
#[derive(Debug, Default)]
pub struct Assembler {
    parts: Vec<u8>,
}

impl Assembler {
    /// Takes the next frame; the message if it was the last, none if more frames belong to it.
    pub fn take<T: DeserializeOwned>(&mut self, frame: &Frame) -> Result<Option<T>, MessageError> {
        let length = self.parts.len().saturating_add(frame.payload.len());
        if length > MAX_MESSAGE {
            self.parts = Vec::new();
            return Err(MessageError::TooLong { length });
        }
        self.parts.extend_from_slice(&frame.payload);
        if frame.flags & MORE != 0 {
            return Ok(None);
        }
        let json = std::mem::take(&mut self.parts);
        serde_json::from_slice(&json)
            .map(Some)
            .map_err(|e| MessageError::Malformed(e.to_string()))
    }
}

/// Arguments, names and paths are bytes on Linux: text where they are text, numbers where not.
mod bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Bytes {
        Text(String),
        Raw(Vec<u8>),
    }

    impl From<&OsStr> for Bytes {
        fn from(value: &OsStr) -> Self {
            match value.to_str() {
                Some(text) => Bytes::Text(text.to_owned()),
                None => Bytes::Raw(value.as_bytes().to_vec()),
            }
        }
    }

    impl From<Bytes> for OsString {
        fn from(value: Bytes) -> Self {
            match value {
                Bytes::Text(text) => text.into(),
                Bytes::Raw(bytes) => OsString::from_vec(bytes),
            }
        }
    }

    pub(super) mod list {
        use super::*;

        pub(crate) fn serialize<S: Serializer>(list: &[OsString], to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq(list.iter().map(|item| Bytes::from(item.as_os_str())))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<OsString>, D::Error> {
            Ok(Vec::<Bytes>::deserialize(from)?
                .into_iter()
                .map(OsString::from)
                .collect())
        }
    }

    pub(super) mod pairs {
        use super::*;

        type Pairs = Vec<(OsString, OsString)>;

        pub(crate) fn serialize<S: Serializer>(
            list: &[(OsString, OsString)],
            to: S,
        ) -> Result<S::Ok, S::Error> {
            to.collect_seq(
                list.iter()
                    .map(|(name, value)| (Bytes::from(&**name), Bytes::from(&**value))),
            )
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
            let list = Vec::<(Bytes, Bytes)>::deserialize(from)?;
            Ok(list
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect())
        }
    }

    pub(super) mod path {
        use super::*;
        use std::path::PathBuf;

        pub(crate) fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
            path.as_deref()
                .map(|path| Bytes::from(path.as_os_str()))
                .serialize(to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
            Ok(Option::<Bytes>::deserialize(from)?.map(|bytes| OsString::from(bytes).into()))
        }
    }
}
