//! Machines that start no process: a file in the instance's folder says that one runs, and which file each of its disks
//! writes to. What control does around machines can be tested with them in milliseconds, across the death of the
//! process that does it. Real machines are in `real_machines`.

use crate::supervisor::{Farewell, FreezeFailure, Heard, Machines};
use crate::{Code, Error, Result};
use kiln_imagefmt::{Access, Chain, Disk, Segment};
use kiln_vmm::client::{
    DiskStatus, ExitReason, ExitRecord, FileId, FreezeReply, FreezeRequest, Quiesce, RunState, Status, Unplug,
};
use kiln_vmm::virtio::block::BlockSpec;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// How guests behave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Guests {
    /// They have an agent, which does what it is asked.
    #[default]
    Obey,
    /// They have no agent, but mind the power button.
    MindTheButton,
    /// They have no agent and ignore the power button.
    Ignore,
    /// They have an agent, which does what it is asked, and whose answer does not come.
    ObeySilently,
    /// They power off just when they are to be reset.
    EndAtTheReset,
    /// They do not start.
    DoNotStart,
    /// Their disks cannot be frozen.
    DoNotFreeze,
    /// Their machine dies while their disks are frozen.
    DieFrozen,
    /// Their disks are swapped, but the old files cannot be synced.
    DoNotSync,
    /// The same, and the answer does not come.
    DoNotSyncSilently,
    /// No disk can be plugged in.
    DoNotPlug,
    /// A disk is plugged in, and the answer does not come.
    PlugSilently,
    /// They let go of no disk.
    HoldOn,
}

/// What the file says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Running {
    disks: Vec<(String, PathBuf)>,
    /// Those that the guest was asked to let go of, and has not.
    #[serde(default)]
    leaving: Vec<String>,
    unsynced: bool,
    resets: u64,
}

#[derive(Debug, Default)]
pub(super) struct StandIns {
    pub(super) guests: Mutex<Guests>,
    /// What was asked of the machines, in order.
    pub(super) asked: Mutex<Vec<&'static str>>,
    pub(super) meanwhile: Meanwhile,
}

/// What another command does when it is asked next whether a machine runs.
#[derive(Default)]
pub(super) struct Meanwhile(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Meanwhile {
    pub(super) fn is(&self, command: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(command));
    }

    fn happens(&self) {
        let command = self.0.lock().unwrap().take();
        if let Some(command) = command {
            command();
        }
    }
}

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("running")
}

fn read(dir: &Path) -> Result<Running> {
    let text = std::fs::read(file(dir)).map_err(|error| Error::internal("no machine answers", error))?;
    Ok(serde_json::from_slice(&text).unwrap())
}

fn write(dir: &Path, running: &Running) {
    whole(&file(dir), &serde_json::to_vec(running).unwrap());
}

/// Writes a file, whole or not at all: a machine does not die with the command.
fn whole(path: &Path, text: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

impl StandIns {
    fn ask(&self, what: &'static str) -> Guests {
        self.asked.lock().unwrap().push(what);
        *self.guests.lock().unwrap()
    }

    /// The machine is gone, for a reason.
    pub(super) fn end(&self, dir: &Path, reason: ExitReason) {
        let record = ExitRecord::now(reason, "as the test would have it", 0);
        whole(&dir.join("exit.json"), &serde_json::to_vec(&record).unwrap());
        std::fs::remove_file(file(dir)).unwrap();
    }

    /// The guest lets go of whatever it was asked for.
    pub(super) fn guest_lets_go(&self, dir: &Path) {
        let mut running = read(dir).unwrap();
        let leaving = std::mem::take(&mut running.leaving);
        running.disks.retain(|(id, _)| !leaving.contains(id));
        write(dir, &running);
    }

    /// What the guest was asked for and has not let go of.
    pub(super) fn leaving(&self, dir: &Path) -> Vec<String> {
        read(dir).unwrap().leaving
    }

    /// The disks that a machine has, by id.
    pub(super) fn disks(&self, dir: &Path) -> Vec<String> {
        read(dir).unwrap().disks.into_iter().map(|(id, _)| id).collect()
    }

    /// A guest writes to its n-th disk.
    pub(super) fn guest_writes(&self, dir: &Path, disk: usize, offset: u64, text: &[u8]) {
        let running = read(dir).unwrap();
        let chain = Chain::open_path(&running.disks[disk].1, Access::ReadWrite).unwrap();
        chain.write(offset, &[Segment::from_ref(text)]).unwrap();
        chain.flush().unwrap();
    }
}

impl Machines for StandIns {
    fn spawn(&self, dir: &Path) -> Result<()> {
        if self.ask("spawn") == Guests::DoNotStart {
            return Err(Error::new(
                Code::InvalidKernel,
                "the machine did not start: no menu",
            ));
        }
        let text = std::fs::read(dir.join("spec.json")).unwrap();
        let spec: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let disks = spec["devices"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|device| device["kind"] == "block");
        let disks = disks
            .map(|disk| {
                (
                    disk["id"].as_str().unwrap().to_owned(),
                    PathBuf::from(disk["path"].as_str().unwrap()),
                )
            })
            .collect();
        let _ = std::fs::remove_file(dir.join("exit.json"));
        let running = Running {
            disks,
            ..Running::default()
        };
        write(dir, &running);
        Ok(())
    }

    fn is_running(&self, dir: &Path) -> Result<bool> {
        self.meanwhile.happens();
        file(dir)
            .try_exists()
            .map_err(|error| Error::internal(format!("look at {}", dir.display()), error))
    }

    fn wait_exit(&self, dir: &Path, timeout: Duration) -> Result<Option<ExitRecord>> {
        if self.is_running(dir)? {
            std::thread::sleep(timeout.min(Duration::from_millis(2)));
            return Ok(None);
        }
        let text = std::fs::read(dir.join("exit.json")).ok();
        Ok(text.map(|text| serde_json::from_slice(&text).unwrap()))
    }

    fn status(&self, dir: &Path) -> Result<Status> {
        let running = read(dir)?;
        let top = |path: &Path| Some(FileId::of(File::open(path).unwrap()).unwrap());
        let disks = running.disks.iter();
        Ok(Status {
            state: RunState::Running,
            uptime_ms: 1,
            resets: running.resets,
            agent: !matches!(
                *self.guests.lock().unwrap(),
                Guests::Ignore | Guests::MindTheButton
            ),
            disks: disks
                .map(|(id, path)| DiskStatus {
                    id: id.clone(),
                    top: top(path),
                    unsynced: running.unsynced,
                    traffic: kiln_vmm::client::DiskTraffic::default(),
                    leaving: running.leaving.contains(id),
                })
                .collect(),
            freezing: false,
            balloon: None,
        })
    }

    fn ask_agent(&self, dir: &Path, farewell: Farewell) -> Heard {
        let guests = self.ask("agent");
        if matches!(guests, Guests::Ignore | Guests::MindTheButton) {
            return Heard::No;
        }
        match farewell {
            Farewell::PowerOff => self.end(dir, ExitReason::Shutdown),
            Farewell::Reboot => {
                let mut running = read(dir).unwrap();
                running.resets += 1;
                write(dir, &running);
            }
        }
        if guests == Guests::ObeySilently {
            return Heard::No;
        }
        Heard::Yes
    }

    fn press_power_button(&self, dir: &Path) -> Result<()> {
        if self.ask("button") != Guests::Ignore {
            self.end(dir, ExitReason::Shutdown);
        }
        Ok(())
    }

    fn reset(&self, dir: &Path) -> Result<()> {
        if self.ask("reset") == Guests::EndAtTheReset {
            self.end(dir, ExitReason::Shutdown);
        }
        let mut running = read(dir)?;
        running.resets += 1;
        write(dir, &running);
        Ok(())
    }

    fn kill(&self, dir: &Path) -> Result<Option<ExitRecord>> {
        self.ask("kill");
        if self.is_running(dir)? {
            self.end(dir, ExitReason::Killed);
        }
        self.wait_exit(dir, Duration::ZERO)
    }

    fn plug(&self, dir: &Path, disk: &BlockSpec, files: &[OwnedFd]) -> Result<()> {
        let failure = || Error::new(Code::InternalError, "as the test would have it");
        let guests = self.ask("plug");
        if guests == Guests::DoNotPlug {
            return Err(failure());
        }
        // What came is a disk, and its top is the volume's file.
        let path =
            |file: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        let top = files.last().map(path).unwrap();
        assert_eq!(top.file_name(), disk.path.file_name());
        let layers = files.iter().map(|file| File::from(file.try_clone().unwrap()));
        Chain::open(layers.collect(), Access::ReadWrite).unwrap();
        let mut running = read(dir)?;
        running.disks.push((disk.id.clone(), disk.path.clone()));
        write(dir, &running);
        match guests {
            Guests::PlugSilently => Err(failure()),
            _ => Ok(()),
        }
    }

    fn unplug(&self, dir: &Path, disk: &str, how: Unplug) -> Result<()> {
        let guests = self.ask(match how {
            Unplug::Ask => "let go",
            Unplug::Force => "force",
        });
        let mut running = read(dir)?;
        if guests == Guests::HoldOn && how == Unplug::Ask {
            running.leaving.push(disk.to_owned());
        } else {
            running.disks.retain(|(id, _)| id != disk);
            running.leaving.retain(|id| id != disk);
        }
        write(dir, &running);
        Ok(())
    }

    fn freeze(
        &self,
        dir: &Path,
        request: &FreezeRequest,
        overlays: &[OwnedFd],
    ) -> Result<FreezeReply, FreezeFailure> {
        let failure = || Error::new(Code::InternalError, "as the test would have it");
        let guests = self.ask("freeze");
        if guests == Guests::DoNotFreeze {
            return Err(FreezeFailure::Unchanged(failure()));
        }
        let mut running = read(dir).map_err(FreezeFailure::Unchanged)?;
        assert_eq!(request.disks.len(), overlays.len());
        for (disk, overlay) in request.disks.iter().zip(overlays) {
            let path = std::fs::read_link(format!("/proc/self/fd/{}", overlay.as_raw_fd())).unwrap();
            let place = running.disks.iter_mut().find(|(id, _)| id == &disk.id).unwrap();
            place.1 = path;
        }
        running.unsynced = matches!(guests, Guests::DoNotSync | Guests::DoNotSyncSilently);
        write(dir, &running);
        match guests {
            Guests::DieFrozen => {
                self.end(dir, ExitReason::VmmError);
                Err(FreezeFailure::Unknown(failure()))
            }
            Guests::DoNotSync => Err(FreezeFailure::NotSynced(failure())),
            Guests::DoNotSyncSilently => Err(FreezeFailure::Unknown(failure())),
            _ => Ok(FreezeReply {
                stall_us: 1,
                quiesced: request.quiesce != Quiesce::None,
                warning: None,
            }),
        }
    }
}
