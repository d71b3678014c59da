//! Volumes that come to be: those of a launch, and those that are made by themselves.
//!
//! A volume is recorded as `creating`, with the layer that it will have; then the layer's file is made, which costs the
//! same for any size; then both are recorded as there.

use crate::catalog::layers::{self, Layer};
use crate::catalog::snapshots;
use crate::catalog::volumes::{self, Attachment, VolumeRow};
use crate::id::LayerId;
use crate::instance::VolumeSource;
use crate::moment::Moment;
use crate::state::{LayerState, VolumeState};
use crate::{Bytes, Cloud, Code, Error, OperationId, Result, SnapshotId, VolumeId, resolve};
use rusqlite::Connection;

/// The most volumes of one instance: `/dev/sdb` to `/dev/sdz` beside the root.
pub(super) const MOST_VOLUMES: usize = 25;

/// What a volume begins as.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    /// The snapshot, and its layer.
    pub(super) base: Option<(SnapshotId, LayerId)>,
    pub(super) size: Bytes,
}

impl Beginning {
    /// What was asked for.
    pub(super) fn of(cloud: &Cloud, db: &Connection, from: &VolumeSource) -> Result<Beginning> {
        let (snapshot, size) = match from {
            VolumeSource::Empty(size) => {
                check_size(*size)?;
                return Ok(Beginning {
                    base: None,
                    size: *size,
                });
            }
            VolumeSource::Snapshot { snapshot, size } => (resolve::snapshot(cloud, db, snapshot)?, *size),
        };
        let all = Beginning::of_snapshot(db, &snapshot)?;
        let Some(size) = size else { return Ok(all) };
        check_size(size)?;
        if size < all.size {
            return Err(Error::new(
                Code::InvalidParameterValue,
                format!(
                    "a volume of snapshot {snapshot} cannot have {size}: the snapshot has {}",
                    all.size
                ),
            ));
        }
        Ok(Beginning { size, ..all })
    }

    /// All of a snapshot.
    pub(super) fn of_snapshot(db: &Connection, id: &SnapshotId) -> Result<Beginning> {
        let snapshot = snapshots::completed(db, id)?;
        Ok(Beginning {
            base: Some((snapshot.id, snapshot.layer)),
            size: snapshot.size,
        })
    }
}

/// Refuses a size that no volume has.
pub(super) fn check_size(size: Bytes) -> Result<()> {
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

/// Records a volume, with the layer that will be made for it.
pub(super) fn reserve(
    cloud: &Cloud,
    db: &Connection,
    operation: &OperationId,
    begins: &Beginning,
    attachment: Option<Attachment>,
) -> Result<VolumeId> {
    let (snapshot, below) = begins.base.clone().unzip();
    let parent = below.map(|layer| layers::get(db, &layer)).transpose()?;
    let layer = Layer {
        id: LayerId::mint()?,
        region: cloud.region.to_string(),
        location: cloud.host.clone(),
        owner: cloud.account.clone(),
        depth: parent.as_ref().map_or(1, |parent| parent.depth + 1),
        parent: parent.map(|parent| parent.id),
        size: begins.size,
        state: LayerState::Creating,
        operation: Some(operation.clone()),
    };
    layers::insert(db, &layer)?;
    let volume = VolumeRow {
        id: VolumeId::mint()?,
        region: cloud.region.to_string(),
        location: cloud.host.clone(),
        owner: cloud.account.clone(),
        state: VolumeState::Creating,
        layer: layer.id,
        snapshot: snapshot.map(|id| id.to_string()),
        size: begins.size,
        attachment,
        created: Moment::now(),
    };
    volumes::insert(db, &volume)?;
    Ok(volume.id)
}

/// Makes the layer of a volume that was recorded: whole and on disk when this returns.
pub(super) fn make(cloud: &Cloud, layer: &LayerId) -> Result<()> {
    let layer = cloud.catalog.read(|tx| layers::get(tx, layer))?;
    match &layer.parent {
        Some(below) => cloud.layers.create_overlay(&layer.id, below, layer.size),
        None => cloud.layers.create_base(&layer.id, layer.size),
    }
}

/// Records that a volume is there, attached or not.
pub(super) fn settle(db: &Connection, volume: &VolumeRow) -> Result<()> {
    layers::change(db, &volume.layer, &[LayerState::Creating], LayerState::Writing)?;
    let state = match volume.attachment {
        Some(_) => VolumeState::InUse,
        None => VolumeState::Available,
    };
    volumes::change(db, &volume.id, VolumeState::Creating, state)
}
