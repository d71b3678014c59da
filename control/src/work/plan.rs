//! Which disks the instances of a launch will have.

use crate::catalog::images::{self, ImageRow};
use crate::catalog::snapshots;
use crate::id::LayerId;
use crate::image::OnTermination;
use crate::instance::{NewVolume, RunInstances, VolumeSource};
use crate::state::SnapshotState;
use crate::{Bytes, Cloud, Code, Error, Result, resolve};
use rusqlite::Connection;

/// A disk of a launch, before there is anything of it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) device: String,
    /// The snapshot that it begins as, and that snapshot's layer.
    pub(crate) base: Option<(String, LayerId)>,
    pub(crate) size: Bytes,
    pub(crate) delete_on_termination: bool,
}

/// The disks of the instances: those that the image names, then those that were asked for.
pub(super) fn plan(
    cloud: &Cloud,
    db: &Connection,
    image: &ImageRow,
    request: &RunInstances,
) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for device in images::devices(db, &image.id)? {
        let (layer, size) = completed(db, device.snapshot.as_str())?;
        let wanted = match request.root_size {
            Some(wanted) if device.position == 0 => wanted,
            _ => size,
        };
        if wanted < size {
            return Err(Error::new(
                Code::InvalidBlockDeviceMapping,
                format!(
                    "the root volume cannot have {wanted}: the image {} has {size}",
                    image.id
                ),
            ));
        }
        check_size(wanted)?;
        plans.push(Plan {
            device: device.device,
            base: Some((device.snapshot.to_string(), layer)),
            size: wanted,
            delete_on_termination: device.delete_on_termination,
        });
    }
    for volume in &request.volumes {
        let device = free_device(&plans)?;
        plans.push(plan_volume(cloud, db, volume, device)?);
    }
    Ok(plans)
}

fn plan_volume(cloud: &Cloud, db: &Connection, volume: &NewVolume, device: String) -> Result<Plan> {
    let (base, size) = match &volume.from {
        VolumeSource::Empty(size) => {
            check_size(*size)?;
            (None, *size)
        }
        VolumeSource::Snapshot(text) => {
            let id = resolve::snapshot(cloud, db, text)?;
            let (layer, size) = completed(db, id.as_str())?;
            (Some((id.to_string(), layer)), size)
        }
    };
    Ok(Plan {
        device,
        base,
        size,
        delete_on_termination: volume.on_termination == OnTermination::Delete,
    })
}

fn completed(db: &Connection, snapshot: &str) -> Result<(crate::id::LayerId, Bytes)> {
    let id = crate::SnapshotId::parse(snapshot)?;
    let row = snapshots::find(db, &id)?.ok_or_else(|| {
        Error::new(
            Code::InvalidSnapshotNotFound,
            format!("there is no snapshot {id}"),
        )
    })?;
    match (row.state, row.layer) {
        (SnapshotState::Completed, Some(layer)) => Ok((layer, row.size)),
        (state, _) => Err(Error::new(
            Code::IncorrectState,
            format!("snapshot {id} cannot be used: it is {state}"),
        )),
    }
}

fn check_size(size: Bytes) -> Result<()> {
    if size.0 == 0 || !size.0.is_multiple_of(512) || size > Bytes::LARGEST_VOLUME {
        return Err(Error::new(
            Code::InvalidParameterValue,
            format!(
                "a volume cannot have {size}: whole sectors of 512 bytes, at most {}",
                Bytes::LARGEST_VOLUME
            ),
        ));
    }
    Ok(())
}

/// The first of `/dev/sdb` to `/dev/sdz` that no disk has, under either of its two names.
fn free_device(taken: &[Plan]) -> Result<String> {
    let is_taken = |letter: char| {
        [format!("/dev/sd{letter}"), format!("/dev/xvd{letter}")]
            .iter()
            .any(|name| taken.iter().any(|plan| &plan.device == name))
    };
    let letter = ('b'..='z').find(|&letter| !is_taken(letter));
    letter.map(|letter| format!("/dev/sd{letter}")).ok_or_else(|| {
        Error::new(
            Code::InvalidBlockDeviceMapping,
            "all device names from /dev/sdb to /dev/sdz are taken",
        )
    })
}
