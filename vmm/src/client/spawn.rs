//! Starting a machine so that it outlives whoever started it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::pipe::PipeFlags;

use super::{ClientError, kill_by_force};
use crate::control::lines::{LineError, wait};
use crate::crash;
use crate::instance_dir::{InstanceDir, SPEC};
use crate::parent::ready::{BootInfo, ReadyLine};

/// How long [`spawn`] waits for a machine to be ready: where the hardware is emulated, reading and
/// unpacking a kernel takes its time.
pub const START_PATIENCE: Duration = Duration::from_secs(180);

/// The longest line a starting machine may send: a command line of the kernel's limit and more.
const MAX_READY: u64 = 256 * 1024;

/// A machine that has just been started: it is ready, its first vCPU enters the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// What it boots.
    pub boot: BootInfo,
}

/// Starts the machine whose `spec.json` lies in `dir`, and waits until it is ready.
///
/// # Errors
/// [`ClientError::Start`] with the machine's own words if it does not come to run.
pub fn spawn(kiln_vmm: &Path, dir: &Path) -> Result<Started, ClientError> {
    spawn_within(kiln_vmm, dir, START_PATIENCE)
}

/// As [`spawn`], with a time limit of the caller's. A machine that is not ready by then is killed.
///
/// # Errors
/// As [`spawn`]; [`ClientError::NotReady`].
pub fn spawn_within(kiln_vmm: &Path, dir: &Path, patience: Duration) -> Result<Started, ClientError> {
    let failed = |source| ClientError::Program {
        program: kiln_vmm.to_owned(),
        source,
    };
    let folder = InstanceDir::open(dir)?;
    let spec = std::path::absolute(dir.join(SPEC)).map_err(failed)?;
    let (reader, writer) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;

    // With --ready-fd the program puts itself into the background: what is started here ends as
    // soon as it has forked, and is waited for. An empty environment, and no descriptor but the
    // pipe: nothing of ours lives on in the machine.
    let mut launcher = Command::new(kiln_vmm)
        .arg("--spec")
        .arg(spec)
        .args(["--ready-fd", "1"])
        .args(crash::option())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(writer))
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let status = launcher.wait().map_err(failed)?;

    let line = read_line(reader, Instant::now() + patience);
    if let Err(LineError::Deadline) = line {
        kill_by_force(dir)?;
        return Err(ClientError::NotReady {
            dir: dir.to_owned(),
            waited: patience,
        });
    }
    match line
        .ok()
        .and_then(|line| serde_json::from_slice::<ReadyLine>(&line).ok())
    {
        Some(ReadyLine::Ready(ready)) => Ok(Started { boot: ready.boot }),
        Some(ReadyLine::Error(error)) => Err(ClientError::Start {
            kind: error.kind,
            message: error.message,
        }),
        None => Err(died_silently(&folder, status)),
    }
}

/// The line, read to the end of the pipe: nobody holds its other end after it was sent.
fn read_line(reader: OwnedFd, deadline: Instant) -> Result<Vec<u8>, LineError> {
    let mut line = Vec::new();
    let mut reader = File::from(reader).take(MAX_READY);
    let mut bytes = [0; 4096];
    loop {
        wait(reader.get_ref(), PollFlags::IN, deadline)?;
        let count = reader.read(&mut bytes)?;
        line.extend_from_slice(bytes.get(..count).unwrap_or_default());
        if count == 0 || line.ends_with(b"\n") {
            return Ok(line);
        }
    }
}

/// What can be said of a machine that ended before it said anything.
fn died_silently(folder: &InstanceDir, status: std::process::ExitStatus) -> ClientError {
    // The record is written by the parent a moment after its child died.
    let record = super::wait_exit(folder.path(), Duration::from_secs(5));
    let message = match record {
        Ok(Some(record)) => record.detail,
        _ => format!("kiln-vmm ended before it said anything ({status})"),
    };
    ClientError::Start {
        kind: "internal".to_owned(),
        message,
    }
}
