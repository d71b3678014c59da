//! Freeze: a volume's layer becomes immutable, and a new one takes its writes. The heart of images and snapshots.
//!
//! ```text
//!   intent      rows: operation, snapshots (pending), image (pending), overlays (creating); the instance is taken
//!   ending      reboot: the guest is ended
//!     │
//!   overlays    files: each overlay whole and on disk
//!     │         running guest: `disks.freeze`: all disks at one point in time, or none
//!     │         otherwise: nothing has to happen
//!   sealing     the old files are brought to disk and lose the right to be written
//!   commit      one transaction: snapshots completed, volumes on their overlays, image available
//!     │         reboot: the guest is started again
//!   done
//! ```
//!
//! No data is read or copied, so the size of a disk does not matter.
//!
//! **Cut short before `overlays`**: no machine has been told of the overlays. Everything is undone; a guest that was
//! told to end for it is waited for and started again, and left alone if it does not end.
//!
//! **Cut short after**: the machine may or may not write to the overlays already. If it lives, it is asked which file
//! takes a disk's writes: the overlays, then the work is finished; the old files, then it is undone. If it could not bring
//! the old files to disk, the volumes go on with the overlays, and there are no snapshots. If it is gone, the work is
//! finished: the overlay is the volume, whether it was swapped in or not, because an overlay on which nothing was written
//! reads the same as the layer below it. A layer whose writer was killed may have leaked clusters; they are given back
//! before it is sealed.
//!
//! **An old file that cannot be sealed** (damaged tables, a disk that fails) makes no snapshot, and is not tried again,
//! nor is one whose sealing was cut short: the kernel tells once what it could not write. Disks that were at rest stay on
//! their old files; of a guest that went on, the volumes do with their overlays.
//!
//! A copy acknowledged is a copy on disk: the call answers after the old files were synced and the commit is durable.

mod settle;

pub(super) use settle::resume;
use settle::{Outcome, settle};

use super::{Step, Work, ending, launch, start};
use crate::catalog::layers::{self, Layer};
use crate::catalog::operations::{self};
use crate::catalog::snapshots::{self, SnapshotRow};
use crate::catalog::variables::{self, Packed};
use crate::catalog::volumes::{self, VolumeRow};
use crate::catalog::{images, instances, tags};
use crate::crash::crash_point;
use crate::firmware;
use crate::id::LayerId;
use crate::instance::Ending;
use crate::moment::Moment;
use crate::state::{ImageState, InstanceState, LayerState, SnapshotState};
use crate::store::Writer;
use crate::supervisor::FreezeFailure;
use crate::tag::Tag;
use crate::{Cloud, Code, Error, ImageId, InstanceId, Result, SnapshotId, VolumeId};
use kiln_vmm::client::{FreezeDisk, FreezeRequest, Quiesce};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::time::Duration;

pub(super) const KIND: &str = "freeze";

/// How long a guest's file systems may stay frozen; the machine thaws them itself then.
const LEASE: Duration = Duration::from_secs(10);

/// How long a machine may take to bring the old files to disk.
const SETTLE_PATIENCE: Duration = Duration::from_secs(300);

/// How often it is asked whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How the disks come to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Manner {
    /// They are at rest: the guest is stopped, or there is none.
    AtRest,
    /// The guest is ended, and started again afterwards.
    Reboot,
    /// The guest goes on.
    Live,
}

/// What a freeze is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) instance: Option<InstanceId>,
    pub(super) manner: Manner,
    pub(super) disks: Vec<Frozen>,
    pub(super) image: Option<ImageId>,
}

/// One disk of a freeze.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Frozen {
    pub(super) volume: VolumeId,
    pub(super) snapshot: SnapshotId,
    pub(super) old: LayerId,
    pub(super) new: LayerId,
}

/// Records, for one volume, the snapshot to be and the overlay that will take the writes.
pub(super) fn reserve(
    cloud: &Cloud,
    db: &Connection,
    operation: &crate::OperationId,
    volume: &VolumeRow,
    description: &str,
    snapshot_tags: &[Tag],
) -> Result<Frozen> {
    let old = layers::get(db, &volume.layer)?;
    let new = Layer {
        id: LayerId::mint()?,
        region: volume.region.clone(),
        location: volume.location.clone(),
        owner: volume.owner.clone(),
        parent: Some(old.id.clone()),
        depth: old.depth + 1,
        size: volume.size,
        state: LayerState::Creating,
        operation: Some(operation.clone()),
    };
    layers::insert(db, &new)?;
    let snapshot = SnapshotRow {
        id: SnapshotId::mint()?,
        region: volume.region.clone(),
        location: volume.location.clone(),
        owner: cloud.account.clone(),
        state: SnapshotState::Pending,
        layer: None,
        volume: volume.id.to_string(),
        size: volume.size,
        description: description.to_owned(),
        started: Moment::now(),
    };
    snapshots::insert(db, &snapshot)?;
    tags::set(db, snapshot.id.as_str(), snapshot_tags)?;
    Ok(Frozen {
        volume: volume.id.clone(),
        snapshot: snapshot.id,
        old: old.id,
        new: new.id,
    })
}

/// Does the work that was reserved; `ending` says how the guest is ended, if it is. On an error the work is finished or
/// undone, as after a crash; `Ok` means that the snapshots are complete.
pub(super) fn carry_out(work: Work<'_>, about: &About, ending: Ending) -> Result<Vec<String>> {
    let cloud = work.cloud;
    let mut warnings = Vec::new();
    match freeze(&work, about, ending, &mut warnings) {
        Ok(()) => {
            restart(work, about, &mut warnings);
            Ok(warnings)
        }
        Err(error) => {
            if let Err(again) = settle(work, about, Outcome::of(&error)) {
                tracing::warn!(error = %again, "the work cannot be put right yet; the next command tries again");
                return Err(Error::from(error).not_put_right());
            }
            // With the machine gone the work was finished instead of undone.
            if is_complete(cloud, about)? {
                warnings.push(format!("finished in spite of: {error}"));
                return Ok(warnings);
            }
            Err(error.into())
        }
    }
}

/// Why a freeze did not come to its end.
#[derive(Debug)]
enum Failure {
    /// Whatever it was, the machine can be asked how things are.
    Ask(Error),
    /// The overlays may be in use, but the old files are not safely on disk, and trying again would not tell: there is
    /// no snapshot.
    NotSynced(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ask(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Ask(error) | Failure::NotSynced(error) => error,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Ask(error) | Failure::NotSynced(error) => error.fmt(f),
        }
    }
}

fn freeze(work: &Work<'_>, about: &About, ending: Ending, warnings: &mut Vec<String>) -> Result<(), Failure> {
    let cloud = work.cloud;
    crash_point!("create_image.after_intent");
    if let (Manner::Reboot, Some(instance)) = (about.manner, &about.instance) {
        work.advance(Step::Ending)?;
        warnings.extend(ending::end(cloud, instance, ending)?);
        crash_point!("create_image.after_ending");
    }
    let layers = layers_of(cloud, about)?;
    for (disk, layer) in about.disks.iter().zip(&layers) {
        cloud.layers.create_overlay(&disk.new, &disk.old, layer.size)?;
    }
    crash_point!("create_image.after_overlays");
    work.advance(Step::Overlays)?;
    crash_point!("create_image.before_freeze");
    let writer = match (about.manner, &about.instance) {
        (Manner::Live, Some(instance)) => {
            swap(cloud, about, instance, warnings)?;
            Writer::Alive
        }
        _ => Writer::Gone,
    };
    crash_point!("create_image.after_freeze");
    seal_and_commit(work, about, writer)
}

fn layers_of(cloud: &Cloud, about: &About) -> Result<Vec<Layer>> {
    cloud.catalog.read(|tx| {
        about
            .disks
            .iter()
            .map(|disk| layers::get(tx, &disk.new))
            .collect()
    })
}

/// Has the machine move its disks onto the overlays.
fn swap(
    cloud: &Cloud,
    about: &About,
    instance: &InstanceId,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let dir = cloud.instance_directory(instance);
    let overlays = about
        .disks
        .iter()
        .map(|disk| cloud.layers.open_writable(&disk.new).map(OwnedFd::from))
        .collect::<Result<Vec<_>>>()?;
    let has_agent = cloud.machines.status(&dir)?.agent;
    let quiesce = if has_agent {
        Quiesce::Agent {
            deadline_ms: u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX),
        }
    } else {
        warnings.push(format!(
            "no agent answers in {instance}: its file systems were not frozen, and the copy is as after a power cut"
        ));
        Quiesce::None
    };
    let disks = about
        .disks
        .iter()
        .map(|disk| FreezeDisk {
            id: disk.volume.to_string(),
        })
        .collect();
    let request = FreezeRequest { disks, quiesce };
    let reply = cloud
        .machines
        .freeze(&dir, &request, &overlays)
        .map_err(|failure| match failure {
            FreezeFailure::Unchanged(error) | FreezeFailure::Unknown(error) => Failure::Ask(error),
            FreezeFailure::NotSynced(error) => Failure::NotSynced(error),
        })?;
    tracing::debug!(%instance, stall_us = reply.stall_us, quiesced = reply.quiesced, "the disks are frozen");
    warnings.extend(reply.warning);
    Ok(())
}

fn seal_and_commit(work: &Work<'_>, about: &About, writer: Writer) -> Result<(), Failure> {
    work.advance(Step::Sealing)?;
    for disk in &about.disks {
        let sealed = work.cloud.layers.seal(&disk.old, writer);
        sealed.map_err(Failure::NotSynced)?;
    }
    crash_point!("create_image.after_seal");
    let own = match (&about.image, &about.instance) {
        (Some(_), Some(instance)) => firmware::variables_in(&work.cloud.instance_directory(instance))?,
        _ => None,
    };
    work.cloud.catalog.write(|tx| {
        move_volumes(tx, about)?;
        for disk in &about.disks {
            snapshots::complete(tx, &disk.snapshot, &disk.old)?;
        }
        if let Some(image) = &about.image {
            images::change(tx, image, &[ImageState::Pending], ImageState::Available)?;
            keep_variables(tx, image, about.instance.as_ref(), own)?;
        }
        operations::advance(tx, &work.id, Step::Restart.as_str())
    })?;
    crash_point!("create_image.after_commit");
    Ok(())
}

/// Gives an image the variables of its instance; one that never needed any hands on those of its own image.
fn keep_variables(
    db: &Connection,
    image: &ImageId,
    instance: Option<&InstanceId>,
    own: Option<Packed>,
) -> Result<()> {
    let Some(instance) = instance else { return Ok(()) };
    let store = match own {
        Some(store) => Some(store),
        None => variables::find(db, &instances::get(db, instance)?.image)?,
    };
    store.map_or(Ok(()), |store| variables::set(db, image, &store))
}

fn move_volumes(db: &Connection, about: &About) -> Result<()> {
    for disk in &about.disks {
        layers::change(db, &disk.old, &[LayerState::Writing], LayerState::Sealed)?;
        layers::change(db, &disk.new, &[LayerState::Creating], LayerState::Writing)?;
        volumes::move_on(db, &disk.volume, &disk.old, &disk.new)?;
    }
    Ok(())
}

/// The last step: a guest that was ended for it is started again. The copy is complete whatever comes of it.
fn restart(work: Work<'_>, about: &About, warnings: &mut Vec<String>) {
    let cloud = work.cloud;
    let restarted = match (about.manner, &about.instance) {
        (Manner::Reboot, Some(instance)) => {
            let spawned = match cloud.machines.is_running(&cloud.instance_directory(instance)) {
                Ok(true) => Ok(()),
                _ => launch::spawn(cloud, instance),
            };
            if let Err(error) = &spawned {
                warnings.push(format!("{instance} could not be started again: {error}"));
            }
            crash_point!("create_image.after_restart");
            start::settle(
                work,
                instance,
                spawned.as_ref().map(drop).map_err(ending::server_error),
            )
        }
        _ => work.finish(|_| Ok(())),
    };
    if let Err(error) = restarted {
        warnings.push(format!(
            "the work is not closed yet, the next command will do it: {error}"
        ));
    }
}

fn is_complete(cloud: &Cloud, about: &About) -> Result<bool> {
    cloud.catalog.read(|tx| {
        let mut complete = !about.disks.is_empty();
        for disk in &about.disks {
            let row = snapshots::find(tx, &disk.snapshot)?;
            complete &= row.is_some_and(|row| row.state == SnapshotState::Completed);
        }
        Ok(complete)
    })
}

/// The manner that an instance's state calls for.
pub(super) fn manner(db: &Connection, instance: &InstanceId, reboot: crate::image::Reboot) -> Result<Manner> {
    match instances::get(db, instance)?.state {
        InstanceState::Stopped => Ok(Manner::AtRest),
        InstanceState::Running if reboot == crate::image::Reboot::Yes => Ok(Manner::Reboot),
        InstanceState::Running => Ok(Manner::Live),
        state => Err(Error::new(
            Code::IncorrectInstanceState,
            format!("instance {instance} is {state}; this needs it to be running or stopped"),
        )),
    }
}
