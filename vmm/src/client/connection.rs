//! A connection to a running machine: a method a verb.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ClientError, ProcessUsage};
use crate::control::lines::{LineError, Lines};
use crate::control::wire::{
    AttachArgs, AttachReply, BalloonArgs, BalloonStatus, FreezeArgs, FreezeReply, FreezeRequest, PlugArgs,
    PlugReply, Quiesce, Reply, Request, ResizeArgs, SaveReport, Status, Unplug, UnplugArgs, VERSION,
};
use crate::instance_dir::{CONTROL_SOCKET, InstanceDir};
use crate::saved::SavedFiles;
use crate::terminal::TerminalSize;
use crate::virtio::block::BlockSpec;

/// How long an ordinary verb may take. Generous: hosts without virtualization hardware are slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a freeze may take on top of its own deadline: the sync of the old files.
const SYNC_PATIENCE: Duration = Duration::from_secs(300);

/// A console of a running machine, attached.
#[derive(Debug)]
pub struct ConsoleStream {
    /// Both ways; it ends with the machine.
    pub stream: UnixStream,
    /// Its name in the guest.
    pub console: String,
    /// What the guest printed before anything was read from the stream.
    pub printed: Vec<u8>,
}

/// A running machine, connected.
#[derive(Debug)]
pub struct Vmm {
    lines: Lines,
    dir: PathBuf,
    /// The VMM, which lives as long as the connection.
    process: Pid,
    next_id: u64,
}

impl Vmm {
    /// Connects to the machine in `dir`.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] if nothing of this user listens there.
    pub fn connect(dir: &Path) -> Result<Self, ClientError> {
        let not_running = |message: String| ClientError::NotRunning {
            dir: dir.to_owned(),
            message,
        };
        let folder = InstanceDir::open(dir)?;
        let stream = UnixStream::connect(folder.short_path(CONTROL_SOCKET))
            .map_err(|error| not_running(format!("{CONTROL_SOCKET}: {error}")))?;
        // Whoever put the socket there must be us: the answers decide what happens to disks.
        let peer = rustix::net::sockopt::socket_peercred(&stream)
            .map_err(|errno| not_running(format!("{CONTROL_SOCKET}: {errno}")))?;
        if peer.uid != rustix::process::geteuid() {
            return Err(not_running(format!(
                "{CONTROL_SOCKET} is served by another user (uid {})",
                peer.uid.as_raw()
            )));
        }
        Ok(Self {
            lines: Lines::new(stream),
            dir: dir.to_owned(),
            process: peer.pid,
            next_id: 1,
        })
    }

    /// How the machine is.
    ///
    /// # Errors
    /// Any of the connection; the same for every verb below.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.ask("status", Value::Null, &[], PATIENCE)
    }

    /// How the machine is, and what its process has taken of the host.
    ///
    /// # Errors
    /// As [`Self::status`], or `/proc` cannot be read.
    pub fn usage(&mut self) -> Result<(Status, ProcessUsage), ClientError> {
        let usage = ProcessUsage::of(self.process).map_err(|error| self.protocol("status", &error));
        // It has answered after that: it was its id, and no other process's.
        let status = self.status()?;
        Ok((status, usage?))
    }

    /// Holds the vCPUs and devices.
    ///
    /// # Errors
    /// As [`Self::status`], or it cannot be paused.
    pub fn pause(&mut self) -> Result<(), ClientError> {
        self.tell("pause")
    }

    /// Lets a paused machine go on.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn resume(&mut self) -> Result<(), ClientError> {
        self.tell("resume")
    }

    /// Presses the ACPI power button.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn powerdown(&mut self) -> Result<(), ClientError> {
        self.tell("powerdown")
    }

    /// Resets the guest; the machine stays.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn reset(&mut self) -> Result<(), ClientError> {
        self.tell("reset")
    }

    /// Ends the machine at once. It is gone when [`super::wait_exit`] says so.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn kill(&mut self) -> Result<(), ClientError> {
        match self.tell("kill") {
            // It may be gone before the answer is.
            Err(ClientError::NotRunning { .. }) => Ok(()),
            other => other,
        }
    }

    /// Turns the writes of several disks to new overlays at one point in time, all or none.
    /// `overlays` are complete, synced files, opened for reading and writing, in the order of the
    /// request's disks. When this returns, the old files are on disk.
    ///
    /// # Errors
    /// As [`Self::status`]; then [`Status::disks`] tells which file a disk writes to.
    /// [`ClientError::Refused`] with [`super::ErrorKind::NotSynced`] means that the swap happened,
    /// with every other kind it did not.
    pub fn freeze(
        &mut self,
        request: &FreezeRequest,
        overlays: &[OwnedFd],
    ) -> Result<FreezeReply, ClientError> {
        let lease = match request.quiesce {
            Quiesce::None => Duration::ZERO,
            Quiesce::Agent { deadline_ms } => Duration::from_millis(deadline_ms),
        };
        let args = FreezeArgs {
            disks: request.disks.clone(),
            quiesce: request.quiesce,
            paths: paths(overlays).unwrap_or_default(),
        };
        let args = serde_json::to_value(args).map_err(|error| self.protocol("disks.freeze", &error))?;
        let overlays: Vec<BorrowedFd<'_>> = overlays.iter().map(AsFd::as_fd).collect();
        self.ask("disks.freeze", args, &overlays, PATIENCE + lease + SYNC_PATIENCE)
    }

    /// Plugs a disk in: `files` are its files, of a chain from the bottom to the top, open as `disk` says. The disk's
    /// path is not opened. When this returns the guest has been told; what it makes of it is the guest's affair.
    ///
    /// # Errors
    /// As [`Self::status`]; then [`Status::disks`] tells whether the disk is there. [`ClientError::Refused`]: it is not.
    pub fn plug(&mut self, disk: &BlockSpec, files: &[OwnedFd]) -> Result<PlugReply, ClientError> {
        let verb = "disks.plug";
        let args = PlugArgs {
            disk: disk.clone(),
            paths: paths(files).unwrap_or_default(),
        };
        let args = serde_json::to_value(args).map_err(|error| self.protocol(verb, &error))?;
        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        self.ask(verb, args, &files, PATIENCE)
    }

    /// Has a disk go: [`Status::disks`] lists it until it is gone and its files are closed. May be repeated.
    ///
    /// # Errors
    /// As [`Self::status`]; [`super::ErrorKind::NoSuchDisk`], or [`super::ErrorKind::State`] of the disk that the machine
    /// boots from.
    pub fn unplug(&mut self, id: &str, how: Unplug) -> Result<(), ClientError> {
        let verb = "disks.unplug";
        let id = id.to_owned();
        let args =
            serde_json::to_value(UnplugArgs { id, how }).map_err(|error| self.protocol(verb, &error))?;
        self.ask::<Value>(verb, args, &[], PATIENCE).map(drop)
    }

    /// Saves the machine to `files`, which are empty and open for writing; one that runs is held
    /// meanwhile. When this returns, both are on disk. What was written before an error is of no use.
    ///
    /// # Errors
    /// As [`Self::status`]; [`ClientError::Refused`] if a file cannot be used or written.
    pub fn save(&mut self, files: &SavedFiles) -> Result<SaveReport, ClientError> {
        let descriptors = [files.state.as_fd(), files.memory.as_fd()];
        self.ask("memory.snapshot", Value::Null, &descriptors, SYNC_PATIENCE)
    }

    /// Asks the guest to give up so many bytes of its memory in all, of which whole pages of 4 KiB count; 0 lets it
    /// have everything again. What the guest makes of it shows in [`Status::balloon`].
    ///
    /// # Errors
    /// As [`Self::status`]; [`super::ErrorKind::State`] if the machine has no balloon, or not so much memory.
    pub fn balloon(&mut self, target_bytes: u64) -> Result<BalloonStatus, ClientError> {
        let verb = "memory.balloon";
        let args = serde_json::to_value(BalloonArgs { target_bytes })
            .map_err(|error| self.protocol(verb, &error))?;
        self.ask(verb, args, &[], PATIENCE)
    }

    /// Attaches to the console that the guest calls `console`, or to the one where a login waits:
    /// what the guest prints comes from the stream, what is written to it is typed.
    ///
    /// # Errors
    /// As [`Self::status`]; [`super::ErrorKind::NoSuchConsole`], or [`super::ErrorKind::Busy`] if too many are
    /// attached.
    pub fn attach_console(mut self, console: Option<&str>) -> Result<ConsoleStream, ClientError> {
        let verb = "console.attach";
        let args = AttachArgs {
            console: console.map(str::to_owned),
        };
        let args = serde_json::to_value(args).map_err(|error| self.protocol(verb, &error))?;
        let reply: AttachReply = self.ask(verb, args, &[], PATIENCE)?;
        let (stream, printed) = self.lines.into_stream();
        Ok(ConsoleStream {
            stream,
            console: reply.console,
            printed,
        })
    }

    /// Tells the guest the size of the terminal that is attached to its console. One without a size, as
    /// a serial port, ignores it.
    ///
    /// # Errors
    /// As [`Self::status`], or there is no such console.
    pub fn resize_console(&mut self, console: &str, size: TerminalSize) -> Result<(), ClientError> {
        let verb = "console.resize";
        let args = ResizeArgs {
            console: Some(console.to_owned()),
            rows: size.rows,
            cols: size.cols,
        };
        let args = serde_json::to_value(args).map_err(|error| self.protocol(verb, &error))?;
        self.ask::<Value>(verb, args, &[], PATIENCE).map(drop)
    }

    fn tell(&mut self, verb: &'static str) -> Result<(), ClientError> {
        self.ask::<Value>(verb, Value::Null, &[], PATIENCE).map(drop)
    }

    fn ask<T: DeserializeOwned>(
        &mut self,
        verb: &'static str,
        args: Value,
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> Result<T, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let request = Request {
            v: VERSION,
            id,
            verb: verb.to_owned(),
            args,
        };
        let text = serde_json::to_vec(&request).map_err(|error| self.protocol(verb, &error))?;
        self.lines
            .write(&text, descriptors, PATIENCE)
            .map_err(|error| self.lost(verb, PATIENCE, &error))?;
        let line = self
            .lines
            .read(patience, PATIENCE)
            .map_err(|error| self.lost(verb, patience, &error))?;
        let reply: Reply = serde_json::from_slice(&line.text).map_err(|error| self.protocol(verb, &error))?;
        if let Some(error) = reply.error {
            return Err(ClientError::Refused {
                verb,
                kind: error.kind,
                message: error.message,
            });
        }
        if reply.id != id {
            return Err(self.protocol(verb, &format!("reply {} to request {id}", reply.id)));
        }
        serde_json::from_value(reply.ok.unwrap_or_default()).map_err(|error| self.protocol(verb, &error))
    }

    fn lost(&self, verb: &'static str, waited: Duration, error: &LineError) -> ClientError {
        match error {
            LineError::Deadline => ClientError::Timeout {
                dir: self.dir.clone(),
                verb,
                waited,
            },
            LineError::Closed => ClientError::NotRunning {
                dir: self.dir.clone(),
                message: format!("it went away before it answered `{verb}`"),
            },
            error => self.protocol(verb, error),
        }
    }

    fn protocol(&self, verb: &'static str, message: &dyn ToString) -> ClientError {
        ClientError::Protocol {
            dir: self.dir.clone(),
            verb,
            message: message.to_string(),
        }
    }
}

/// What the overlays are called; `None` if one of them has no name in this file system.
fn paths(overlays: &[OwnedFd]) -> Option<Vec<String>> {
    let path = |overlay: &OwnedFd| {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", overlay.as_raw_fd())).ok()?;
        link.to_str()
            .filter(|path| path.starts_with('/'))
            .map(str::to_owned)
    };
    overlays.iter().map(path).collect()
}
