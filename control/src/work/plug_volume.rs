//! AttachVolume to an instance that runs: the volume's disk is plugged into its machine.
//!
//! ```text
//!   intent    rows: the volume has its place (`attaching`); it and the instance are taken
//!     │       its layers are opened and handed to the machine, which tells the guest
//!   commit    attached, if the machine has the disk
//! ```
//!
//! **Cut short**, or after an error: the machine is asked whether it has the disk. If it has, the volume is attached;
//! else it is not, and available again.

use super::attach_volume::{must_be_detached, place};
use super::{Operation, Work, payload};
use crate::catalog::instances::{self, InstanceRow};
use crate::catalog::{operations, volumes};
use crate::crash::crash_point;
use crate::state::InstanceState;
use crate::supervisor::spawn;
use crate::volume::{AttachVolume, VolumeAttachment};
use crate::{Cloud, Code, Error, InstanceId, Reply, Result, VolumeId, resolve};
use kiln_vmm::client::DiskStatus;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub(crate) const KIND: &str = "attach";

/// How long a machine may be at a change of its disks.
const SETTLE_PATIENCE: Duration = Duration::from_secs(300);

/// How often it is asked whether it is through.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long the parent of a machine that died may take to write the record.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);

/// What comes to which instance, or goes from it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) volume: VolumeId,
    pub(super) instance: InstanceId,
}

/// What a machine has of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing, or there is no machine.
    Absent,
    /// The disk.
    There,
    /// The disk, and its guest is asked to let go of it.
    Leaving,
}

impl Cloud {
    /// AttachVolume, to an instance that runs.
    pub(super) fn plug_volume(&self, request: &AttachVolume) -> Result<Reply<VolumeAttachment>> {
        let mut attached = None;
        let (work, about) = Work::begin(self, KIND, |tx, operation| {
            let volume = resolve::volume(self, tx, &request.volume)?;
            let instance = resolve::instance(self, tx, &request.instance)?;
            must_be_detached(&volumes::get(tx, &volume)?)?;
            let row = must_be_running(tx, &instance)?;
            operations::claim(tx, operation, &instance)?;
            let place = place(tx, &row, request.device.as_deref())?;
            if place.position == 0 {
                return Err(root_stays(&instance, "gets no root"));
            }
            volumes::attach(tx, &volume, &place)?;
            volumes::hold(tx, operation, &volume)?;
            attached = Some(VolumeAttachment::of(&volume, place, "attached"));
            Ok(About { volume, instance })
        })?;
        crash_point!("attach_volume.after_intent");
        let plugged = plug(self, &about);
        crash_point!("attach_volume.after_plugging");
        let is_there = match settle(work, &about) {
            Ok(is_there) => is_there,
            Err(again) => {
                tracing::warn!(error = %again, "the work cannot be put right yet; the next command tries again");
                return Err(plugged.err().unwrap_or(again).not_put_right());
            }
        };
        crash_point!("attach_volume.after_commit");
        match (plugged, attached) {
            (Ok(()), Some(attached)) if is_there => Ok(Reply::new(attached)),
            (Err(error), Some(attached)) if is_there => Ok(Reply::with(
                attached,
                vec![format!("finished in spite of: {error}")],
            )),
            (Err(error), _) => Err(error),
            (Ok(()), _) => Err(Error::new(
                Code::IncorrectInstanceState,
                format!(
                    "instance {} has ended meanwhile: volume {} is not attached",
                    about.instance, about.volume
                ),
            )),
        }
    }
}

/// Hands the disk to the machine.
fn plug(cloud: &Cloud, about: &About) -> Result<()> {
    let row = cloud.catalog.read(|tx| volumes::get(tx, &about.volume))?;
    let layers = cloud.layers.open_layers(&row.layer)?;
    let files: Vec<OwnedFd> = layers.into_iter().map(OwnedFd::from).collect();
    let disk = spawn::block(&row, &cloud.layers);
    let dir = cloud.instance_directory(&about.instance);
    cloud.machines.plug(&dir, &disk, &files)
}

/// Makes the catalogue say what the machine does; answers with whether the volume is attached.
fn settle(work: Work<'_>, about: &About) -> Result<bool> {
    let is_there = seen(work.cloud, about)? != Seen::Absent;
    work.finish(|tx| {
        if is_there {
            return Ok(());
        }
        volumes::detach(tx, &about.volume)
    })?;
    Ok(is_there)
}

/// What the machine has of the disk, once it is through with what it may be at. (A request that it comes to after its
/// caller has died changes nothing.)
pub(super) fn seen(cloud: &Cloud, about: &About) -> Result<Seen> {
    let dir = cloud.instance_directory(&about.instance);
    let deadline = Instant::now() + SETTLE_PATIENCE;
    loop {
        if !cloud.machines.is_running(&dir)? {
            return Ok(Seen::Absent);
        }
        match cloud.machines.status(&dir) {
            Ok(status) if !status.freezing => {
                let is_it = |disk: &&DiskStatus| disk.id == about.volume.as_str();
                return Ok(match status.disks.iter().find(is_it) {
                    None => Seen::Absent,
                    Some(disk) if disk.leaving => Seen::Leaving,
                    Some(_) => Seen::There,
                });
            }
            Ok(_) if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
            Ok(_) => {
                return Err(Error::new(
                    Code::InternalError,
                    format!("{} is still at a change of its disks", about.instance),
                ));
            }
            Err(error) => {
                // It may have died: then its parent holds the lock until it has written why.
                cloud.machines.wait_exit(&dir, RECORD_PATIENCE)?;
                if cloud.machines.is_running(&dir)? {
                    return Err(error);
                }
            }
        }
    }
}

/// The instance, if its machine runs.
pub(super) fn must_be_running(db: &Connection, id: &InstanceId) -> Result<InstanceRow> {
    let row = instances::get(db, id)?;
    if row.state == InstanceState::Running {
        return Ok(row);
    }
    Err(Error::new(
        Code::IncorrectInstanceState,
        format!(
            "instance {id} is {}; this needs it to be running or stopped",
            row.state
        ),
    ))
}

/// What is said of the root of an instance that runs.
pub(super) fn root_stays(instance: &InstanceId, what: &str) -> Error {
    Error::new(
        Code::OperationNotPermitted,
        format!("instance {instance} is running and {what}: stop it first (`kiln stop {instance}`)"),
    )
}

/// After a crash.
pub(super) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = payload(operation)?;
    let how = if settle(work, &about)? {
        "finished"
    } else {
        "undone"
    };
    let About { volume, instance } = about;
    Ok(Some(format!(
        "the attachment of {volume} to {instance} was cut short and has been {how}"
    )))
}
