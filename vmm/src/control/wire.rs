//! What goes over the control socket: one JSON object a line, each request answered by one reply.
//!
//! ```text
//! -> {"v":1,"id":7,"verb":"disks.freeze","args":{"disks":[{"id":"vol-…"}],"quiesce":{"kind":"none"}}}  (+ descriptors)
//! <- {"id":7,"ok":{"stall_us":412,"quiesced":false,"warning":null}}
//! <- {"id":7,"error":{"kind":"no-such-disk","message":"…"}}
//! ```
//!
//! A request's descriptors travel by `SCM_RIGHTS` (unix(7)) with the bytes of its line.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::virtio::balloon::BalloonLevel;
use crate::virtio::block::{BlockSpec, DiskTraffic};

/// The version that this build speaks; a request with another one is refused by name.
pub const VERSION: u32 = 1;
/// The longest line of either side. It stops a client that never ends its line from growing us.
pub const MAX_LINE: usize = 64 * 1024;
/// The most descriptors of one request, as many as one message carries (unix(7), `SCM_MAX_FD`): it bounds what a client
/// can make us hold open.
pub const MAX_DESCRIPTORS: usize = 253;

/// A request as it is read, its arguments not yet understood.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) v: u32,
    pub(crate) id: u64,
    pub(crate) verb: String,
    #[serde(default)]
    pub(crate) args: Value,
}

/// The answer to the request with the same id. One of `ok` and `error` is there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ok: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ControlError>,
}

/// What kind of failure a verb met; stable, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is no request of this protocol.
    Malformed,
    /// It speaks another version.
    Version,
    /// There is no such verb.
    UnknownVerb,
    /// The verb cannot be done in the state the machine is in.
    State,
    /// Another request of the kind is under way, or there are too many clients.
    Busy,
    /// A named disk is not one of the machine's, or cannot take an overlay.
    NoSuchDisk,
    /// A named console is not one of the machine's.
    NoSuchConsole,
    /// The overlays do not fit the disks (number, size, format).
    Overlay,
    /// No slot is free for another device.
    NoSlot,
    /// A file that was handed over cannot be used.
    File,
    /// The guest agent is absent, silent, or refused; nothing was changed.
    Agent,
    /// The deadline passed; nothing was changed.
    Deadline,
    /// The swap happened, but the old files could not be synced.
    NotSynced,
    /// Anything else in the VMM.
    Internal,
    /// A kind that this build does not know.
    #[serde(other)]
    Unknown,
}

/// A verb's failure, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// The kind, for programs.
    pub kind: ErrorKind,
    /// The sentence, for people.
    pub message: String,
}

impl ControlError {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// Whether the vCPUs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// They do.
    Running,
    /// They are held, and the devices with them.
    Paused,
}

/// The reply to `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether it runs.
    pub state: RunState,
    /// Milliseconds since the first vCPU first entered the guest.
    pub uptime_ms: u64,
    /// How many times the guest was reset.
    pub resets: u64,
    /// Whether the guest's agent has been heard from since the last reset.
    pub agent: bool,
    /// Its disks, in the specification's order.
    pub disks: Vec<DiskStatus>,
    /// Whether a `disks.freeze` is under way, the syncing of the old files included, or a `disks.plug` or
    /// `disks.unplug`: until it is not, what `disks` says is not the last word.
    #[serde(default)]
    pub freezing: bool,
    /// Its balloon, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balloon: Option<BalloonStatus>,
}

/// The balloon in a [`Status`], and the reply to `memory.balloon`. What the guest reports as free by itself is not in
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonStatus {
    /// What the guest is asked to give up, in bytes.
    pub target_bytes: u64,
    /// What it says that it has given up.
    pub actual_bytes: u64,
}

impl BalloonStatus {
    /// As it is now.
    pub(super) fn of(level: &BalloonLevel) -> Self {
        Self {
            target_bytes: level.target(),
            actual_bytes: level.actual(),
        }
    }
}

/// One disk in a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// The disk's id in the specification (`vol-…`).
    pub id: String,
    /// The file that takes its writes now: after a crash of the caller it tells whether a
    /// `disks.freeze` swapped.
    pub top: Option<FileId>,
    /// Whether what it wrote before the last `disks.freeze` that swapped is not safely on disk: once none is under
    /// way, that the old file could not be made durable. The next one tries again; where it was the host's sync that
    /// failed, the next one is refused, until the machine has ended and another has opened the disk.
    #[serde(default)]
    pub unsynced: bool,
    /// What the guest has read and written since the machine was started.
    #[serde(default)]
    pub traffic: DiskTraffic,
    /// Whether the guest has been asked to let go of it, or has and its files are still open. Once they are closed the
    /// disk is not listed any more.
    #[serde(default)]
    pub leaving: bool,
}

/// A file's identity on this host, as `stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
}

impl FileId {
    /// The identity of the file that `metadata` is of.
    pub fn of_metadata(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
        }
    }

    /// The identity of an open file.
    ///
    /// # Errors
    /// `fstat` fails.
    pub fn of(file: impl std::os::fd::AsFd) -> std::io::Result<Self> {
        let stat = rustix::fs::fstat(file)?;
        Ok(Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
        })
    }
}

/// The arguments of `disks.freeze`. The overlays' descriptors travel with it, in the disks' order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    /// The disks, all of which are swapped at one point in time, or none.
    pub disks: Vec<FreezeDisk>,
    /// Whether the guest's file systems are frozen around it.
    pub quiesce: Quiesce,
}

/// A [`FreezeRequest`] as it travels: with what the overlays are called, which the machine in its
/// sandbox cannot find out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FreezeArgs {
    pub(crate) disks: Vec<FreezeDisk>,
    pub(crate) quiesce: Quiesce,
    /// The overlays' absolute paths, in the disks' order; empty if they are not known.
    #[serde(default)]
    pub(crate) paths: Vec<String>,
}

/// One disk of a [`FreezeRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeDisk {
    /// The disk's id in the specification.
    pub id: String,
}

/// What is done with the guest's file systems around a freeze of disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Quiesce {
    /// Nothing: the copy is as after a power cut.
    None,
    /// The agent freezes them. The machine thaws at the deadline whatever happens.
    Agent {
        /// Milliseconds from the request on; at most 60,000.
        deadline_ms: u64,
    },
}

/// The reply to `disks.freeze`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeReply {
    /// How long the disks took no requests, in microseconds.
    pub stall_us: u64,
    /// Whether the file systems were frozen at the point of the swap.
    pub quiesced: bool,
    /// What the user should know, in one sentence.
    pub warning: Option<String>,
}

/// The arguments of `disks.plug`. The descriptors of the disk's files travel with it, of a chain from the bottom to the
/// top.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlugArgs {
    /// The disk; its path is that of the top.
    pub(crate) disk: BlockSpec,
    /// The files' absolute paths, in their order; empty if they are not known.
    #[serde(default)]
    pub(crate) paths: Vec<String>,
}

/// The reply to `disks.plug`: the disk is there, whatever the guest makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlugReply {
    /// The PCI slot.
    pub slot: u8,
}

/// The arguments of `disks.unplug`. It is begun, not awaited: `status` lists the disk until it is gone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnplugArgs {
    /// The disk's id.
    pub(crate) id: String,
    pub(crate) how: Unplug,
}

/// How a disk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unplug {
    /// The guest is asked to let go of it.
    Ask,
    /// It is taken away: the guest's requests fail from now on.
    Force,
}

/// The reply to `memory.snapshot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveReport {
    /// How long the machine was held, in microseconds.
    pub stall_us: u64,
    /// Bytes of memory that were written: those of pages that are not empty.
    pub memory_bytes: u64,
    /// Bytes of the state.
    pub state_bytes: u64,
}

/// The arguments of `memory.balloon`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BalloonArgs {
    /// What the guest is asked to give up in all, in bytes; 0 lets it have everything again.
    pub(crate) target_bytes: u64,
}

/// The arguments of `console.attach`. After the answer the connection is the console's stream.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachArgs {
    /// The console's name in the guest; the one where a login waits if there is none.
    #[serde(default)]
    pub(crate) console: Option<String>,
}

/// The reply to `console.attach`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AttachReply {
    /// Which console it is.
    pub(crate) console: String,
}

/// The arguments of `console.resize`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResizeArgs {
    #[serde(default)]
    pub(crate) console: Option<String>,
    pub(crate) rows: u16,
    pub(crate) cols: u16,
}
