//! What a launch makes: folders, disks, machines, and their undoing.

use super::plan::Plan;
use crate::catalog::instances::{self, InstanceRow};
use crate::catalog::layers::{self, Layer};
use crate::catalog::variables;
use crate::catalog::volumes::{self, Attachment, VolumeRow};
use crate::firmware;
use crate::folder::{make_private, sync_names};
use crate::id::{LayerId, OperationId};
use crate::instance::KernelFiles;
use crate::moment::Moment;
use crate::state::{InstanceState, LayerState, StateReason, VolumeState};
use crate::{Cloud, Code, Error, InstanceId, Result, VolumeId};
use rusqlite::Connection;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Records the volumes of an instance, each with the layer that will be made for it.
pub(crate) fn reserve_volumes(
    cloud: &Cloud,
    db: &Connection,
    operation: &OperationId,
    instance: &InstanceId,
    plans: &[Plan],
) -> Result<()> {
    for (position, plan) in plans.iter().enumerate() {
        let parent = plan
            .base
            .as_ref()
            .map(|(_, layer)| layers::get(db, layer))
            .transpose()?;
        let layer = Layer {
            id: LayerId::mint()?,
            region: cloud.region.to_string(),
            location: cloud.host.clone(),
            owner: cloud.account.clone(),
            depth: parent.as_ref().map_or(1, |parent| parent.depth + 1),
            parent: parent.map(|parent| parent.id),
            size: plan.size,
            state: LayerState::Creating,
            operation: Some(operation.clone()),
        };
        layers::insert(db, &layer)?;
        let now = Moment::now();
        let volume = VolumeRow {
            id: VolumeId::mint()?,
            region: cloud.region.to_string(),
            location: cloud.host.clone(),
            owner: cloud.account.clone(),
            state: VolumeState::Creating,
            layer: layer.id,
            snapshot: plan.base.as_ref().map(|(snapshot, _)| snapshot.clone()),
            size: plan.size,
            attachment: Some(Attachment {
                instance: instance.clone(),
                position: u32::try_from(position).unwrap_or(u32::MAX),
                device: plan.device.clone(),
                delete_on_termination: plan.delete_on_termination,
                since: now,
            }),
            created: now,
        };
        volumes::insert(db, &volume)?;
    }
    Ok(())
}

/// Makes the layers of an instance's volumes: whole and on disk when this returns.
pub(crate) fn make_layers(cloud: &Cloud, instance: &InstanceId) -> Result<()> {
    let wanted = cloud.catalog.read(|tx| {
        let rows = volumes::of_instance(tx, instance)?;
        rows.into_iter()
            .map(|row| layers::get(tx, &row.layer))
            .collect::<Result<Vec<_>>>()
    })?;
    for layer in wanted {
        match &layer.parent {
            Some(below) => cloud.layers.create_overlay(&layer.id, below, layer.size)?,
            None => cloud.layers.create_base(&layer.id, layer.size)?,
        }
    }
    Ok(())
}

/// Records that an instance's volumes are there.
pub(crate) fn attach_volumes(db: &Connection, instance: &InstanceId) -> Result<()> {
    for row in volumes::of_instance(db, instance)? {
        layers::change(db, &row.layer, &[LayerState::Creating], LayerState::Writing)?;
        volumes::change(db, &row.id, VolumeState::Creating, VolumeState::InUse)?;
    }
    Ok(())
}

/// Makes an instance's folder, with a copy of the kernel that was given, or with the variables that its firmware
/// begins with. All is durable, with their names, when this
/// returns: the instance can be started again after a power cut.
pub(crate) fn make_folder(cloud: &Cloud, instance: &InstanceId, kernel: Option<&KernelFiles>) -> Result<()> {
    let dir = cloud.instance_directory(instance);
    make_private(&dir)?;
    let (row, own) = cloud.catalog.read(|tx| {
        let row = instances::get(tx, instance)?;
        let own = variables::find(tx, &row.image)?;
        Ok((row, own))
    })?;
    if let Some(kind) = row.boot.firmware() {
        firmware::give_variables(kind, &cloud.firmware, own, &dir)?;
    }
    if let Some(files) = kernel {
        copy(&files.kernel, &dir.join("kernel"))?;
        if let Some(initrd) = &files.initrd {
            copy(initrd, &dir.join("initrd"))?;
        }
    }
    sync_names(&dir)
}

/// Copies a file that is open, from its beginning, wherever its cursor is.
fn copy(from: &File, to: &Path) -> Result<()> {
    let copying = |error| Error::internal(format!("copy to {}", to.display()), error);
    let mut source = from.try_clone().map_err(copying)?;
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(copying)?;
    // A pipe cannot be rewound: it is read from where it is, and what a second instance gets of it is nothing.
    let _ = source.seek(SeekFrom::Start(0));
    if std::io::copy(&mut source, &mut target).map_err(copying)? == 0 {
        return Err(Error::new(
            Code::InvalidParameterValue,
            format!(
                "the {} that was given is empty",
                to.file_name().unwrap_or_default().display()
            ),
        ));
    }
    target.sync_all().map_err(copying)
}

/// Starts an instance's machine: its specification is written anew, and it runs when this returns.
pub(crate) fn spawn(cloud: &Cloud, instance: &InstanceId) -> Result<()> {
    let (row, disks) = cloud
        .catalog
        .read(|tx| Ok((instances::get(tx, instance)?, volumes::of_instance(tx, instance)?)))?;
    let layers = cloud.layers_of(&row.region)?;
    let dir = cloud.instance_directory(instance);
    crate::supervisor::spawn::write_spec(&dir, &row, &disks, &layers, &cloud.firmware)?;
    cloud.machines.spawn(&dir)
}

/// Undoes the launch of an instance, as far as it came; the instance shows as terminated, with the reason.
///
/// Its layers are condemned with its volumes, and removed by the next sweep.
pub(crate) fn undo(cloud: &Cloud, db: &Connection, row: &InstanceRow, reason: &StateReason) -> Result<()> {
    for volume in volumes::of_instance(db, &row.id)? {
        volumes::delete(db, &volume.id)?;
    }
    tracing::debug!(instance = %row.id, home = %cloud.home.display(), "the launch is undone");
    instances::change(
        db,
        &row.id,
        &[InstanceState::Pending],
        InstanceState::Terminated,
        Some(reason),
    )?;
    Ok(())
}

/// Removes an instance's folder, durably.
pub(crate) fn remove_folder(cloud: &Cloud, instance: &InstanceId) -> Result<()> {
    let dir = cloud.instance_directory(instance);
    match std::fs::remove_dir_all(&dir) {
        Ok(()) => dir.parent().map_or(Ok(()), sync_names),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::internal(format!("remove {}", dir.display()), error)),
    }
}
