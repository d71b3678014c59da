//! Real machines: one `kiln-vmm` each.

use super::{Farewell, FreezeFailure, Heard, Machines};
use crate::{Code, Error, Result};
use kiln_agent::message::ShutdownMode;
use kiln_vmm::client::{
    self, ClientError, ErrorKind, ExitRecord, FreezeReply, FreezeRequest, MAX_DESCRIPTORS, StartError,
    Status, Unplug, Vmm,
};
use kiln_vmm::virtio::block::BlockSpec;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an agent may take to say that it has understood. In an emulated machine a guest is slow.
const AGENT_PATIENCE: Duration = Duration::from_secs(10);

/// How long a killed machine may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// The machines that the program `kiln-vmm` makes.
#[derive(Debug)]
pub(crate) struct Vmms {
    program: PathBuf,
}

impl Vmms {
    /// With a program, or with the one beside the running program, or with the one in `PATH`.
    pub(crate) fn new(program: Option<PathBuf>) -> Vmms {
        let beside = || {
            let own = std::env::current_exe().ok()?;
            let beside = own.parent()?.join("kiln-vmm");
            beside.is_file().then_some(beside)
        };
        Vmms {
            program: program
                .or_else(beside)
                .unwrap_or_else(|| PathBuf::from("kiln-vmm")),
        }
    }

    fn connect(&self, dir: &Path) -> Result<Vmm> {
        Vmm::connect(dir).map_err(no_answer)
    }
}

fn no_answer(error: ClientError) -> Error {
    Error::internal("ask the machine", error)
}

/// Whether an instance has a folder. That nobody can say is no No: its machine may run.
fn is_there(dir: &Path) -> Result<bool> {
    dir.try_exists()
        .map_err(|error| Error::internal(format!("look at {}", dir.display()), error))
}

impl Machines for Vmms {
    fn spawn(&self, dir: &Path) -> Result<()> {
        match client::spawn(&self.program, dir) {
            Ok(started) => {
                tracing::debug!(dir = %dir.display(), boot = ?started.boot, "the machine runs");
                Ok(())
            }
            // What the disk holds is the user's affair, what the host lacks is not.
            Err(error) => {
                let (code, doing) = match &error {
                    ClientError::Start { kind, .. } if kind == StartError::MEMORY => {
                        (Code::InsufficientInstanceCapacity, "the machine did not start")
                    }
                    ClientError::Start { .. } => (Code::InvalidKernel, "the machine did not start"),
                    _ => (Code::InternalError, "start the machine"),
                };
                if matches!(error, ClientError::Start { .. }) {
                    // It says so before it is gone, and would be taken for one that runs.
                    let _ = self.wait_exit(dir, KILL_PATIENCE);
                }
                Err(Error::caused(code, doing, error))
            }
        }
    }

    fn is_running(&self, dir: &Path) -> Result<bool> {
        if !is_there(dir)? {
            return Ok(false);
        }
        client::is_running(dir).map_err(no_answer)
    }

    fn wait_exit(&self, dir: &Path, timeout: Duration) -> Result<Option<ExitRecord>> {
        if !is_there(dir)? {
            return Ok(None);
        }
        client::wait_exit(dir, timeout).map_err(no_answer)
    }

    fn status(&self, dir: &Path) -> Result<Status> {
        self.connect(dir)?.status().map_err(no_answer)
    }

    fn ask_agent(&self, dir: &Path, farewell: Farewell) -> Heard {
        // The socket is there whether or not anybody in the guest listens: a guest that has never been heard from
        // would only be waited for in vain.
        if !self.status(dir).is_ok_and(|status| status.agent) {
            return Heard::No;
        }
        let mode = match farewell {
            Farewell::PowerOff => ShutdownMode::Poweroff,
            Farewell::Reboot => ShutdownMode::Reboot,
        };
        match crate::agent::shut_down(dir, mode, AGENT_PATIENCE) {
            Ok(()) => Heard::Yes,
            Err(error) => {
                tracing::debug!(dir = %dir.display(), %error, "the agent was not to be asked");
                Heard::No
            }
        }
    }

    fn press_power_button(&self, dir: &Path) -> Result<()> {
        self.connect(dir)?.powerdown().map_err(no_answer)
    }

    fn reset(&self, dir: &Path) -> Result<()> {
        self.connect(dir)?.reset().map_err(no_answer)
    }

    fn kill(&self, dir: &Path) -> Result<Option<ExitRecord>> {
        if !self.is_running(dir)? {
            return self.wait_exit(dir, Duration::ZERO);
        }
        // Politely first: then the machine itself writes down that it was killed.
        let asked = Vmm::connect(dir).and_then(|mut vmm| vmm.kill());
        if asked.is_ok()
            && let Some(record) = self.wait_exit(dir, KILL_PATIENCE)?
        {
            return Ok(Some(record));
        }
        client::kill_by_force(dir).map_err(|error| Error::internal("kill the machine", error))?;
        self.wait_exit(dir, KILL_PATIENCE)?.map(Some).ok_or_else(|| {
            Error::new(
                Code::InternalError,
                format!("the machine in {} cannot be killed", dir.display()),
            )
        })
    }

    fn plug(&self, dir: &Path, disk: &BlockSpec, files: &[OwnedFd]) -> Result<()> {
        if files.len() > MAX_DESCRIPTORS {
            return Err(Error::new(
                Code::IncorrectState,
                format!(
                    "the disk has {} layers, and no more than {MAX_DESCRIPTORS} can be handed to a running instance: \
                     stop the instance, and attach it then",
                    files.len()
                ),
            ));
        }
        match self.connect(dir)?.plug(disk, files) {
            Ok(reply) => {
                tracing::debug!(disk = disk.id, slot = reply.slot, "a disk was plugged in");
                Ok(())
            }
            Err(error) => {
                let code = match &error {
                    ClientError::Refused {
                        kind: ErrorKind::NoSlot,
                        ..
                    } => Code::AttachmentLimitExceeded,
                    ClientError::Refused {
                        kind: ErrorKind::File,
                        ..
                    } => Code::IncorrectState,
                    _ => Code::InternalError,
                };
                Err(Error::caused(code, "plug the disk in", error))
            }
        }
    }

    fn unplug(&self, dir: &Path, disk: &str, how: Unplug) -> Result<()> {
        match self.connect(dir)?.unplug(disk, how) {
            // It has gone since somebody looked.
            Err(ClientError::Refused {
                kind: ErrorKind::NoSuchDisk,
                ..
            }) => Ok(()),
            other => other.map_err(|error| Error::internal("have the disk go", error)),
        }
    }

    fn freeze(
        &self,
        dir: &Path,
        request: &FreezeRequest,
        overlays: &[OwnedFd],
    ) -> Result<FreezeReply, FreezeFailure> {
        let mut vmm = self.connect(dir).map_err(FreezeFailure::Unchanged)?;
        let doing = "freeze the disks";
        vmm.freeze(request, overlays).map_err(|error| match error {
            ClientError::Refused {
                kind: ErrorKind::NotSynced,
                ..
            } => FreezeFailure::NotSynced(Error::internal(doing, error)),
            ClientError::Refused { .. } => FreezeFailure::Unchanged(Error::internal(doing, error)),
            error => FreezeFailure::Unknown(Error::internal(doing, error)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_whose_folder_cannot_be_looked_at_is_not_taken_for_gone() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("i-0123456789abcdef0");
        let machines = Vmms {
            program: PathBuf::from("/no/such/program"),
        };
        assert!(!machines.is_running(&dir).unwrap(), "there is no folder");
        std::os::unix::fs::symlink(&dir, &dir).unwrap();
        machines.is_running(&dir).unwrap_err();
        machines.wait_exit(&dir, Duration::ZERO).unwrap_err();
    }

    /// A program that says that it will not run and takes its time to be gone.
    #[test]
    fn a_machine_that_did_not_start_is_gone_before_that_is_said() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("i-0123456789abcdef0");
        std::fs::create_dir(&dir).unwrap();
        let program = home.path().join("kiln-vmm");
        let script = r#"#!/bin/sh
lock=${2%spec.json}lock
exec 9>"$lock"
/usr/bin/flock 9
echo '{"error":{"kind":"boot","message":"there is no menu"}}'
exec >/dev/null
/usr/bin/sleep 1 &
"#;
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let machines = Vmms { program };
        let error = machines.spawn(&dir).unwrap_err();
        assert_eq!(error.code(), Code::InvalidKernel, "{error}");
        assert!(!machines.is_running(&dir).unwrap());
    }
}
