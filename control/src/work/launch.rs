//! What a launch makes: folders, disks, machines, and their undoing.

use super::plan::Plan;
use super::{given_kernel, new_volume};
use crate::catalog::instances::{self, InstanceRow};
use crate::catalog::variables;
use crate::catalog::volumes::{self, Attachment};
use crate::firmware;
use crate::folder::{make_private, sync_names};
use crate::instance::KernelFiles;
use crate::moment::Moment;
use crate::seed;
use crate::state::{InstanceState, StateReason};
use crate::{Cloud, Error, InstanceId, OperationId, Result};
use rusqlite::Connection;

/// Records the volumes of an instance.
pub(super) fn reserve_volumes(
    cloud: &Cloud,
    db: &Connection,
    operation: &OperationId,
    instance: &InstanceId,
    plans: &[Plan],
) -> Result<()> {
    for (position, plan) in plans.iter().enumerate() {
        let place = Attachment {
            instance: instance.clone(),
            position: u32::try_from(position).unwrap_or(u32::MAX),
            device: plan.device.clone(),
            delete_on_termination: plan.delete_on_termination,
            since: Moment::now(),
        };
        new_volume::reserve(cloud, db, operation, &plan.begins, Some(place))?;
    }
    Ok(())
}

/// Makes the layers of an instance's volumes: whole and on disk when this returns.
pub(crate) fn make_layers(cloud: &Cloud, instance: &InstanceId) -> Result<()> {
    let disks = cloud.catalog.read(|tx| volumes::of_instance(tx, instance))?;
    disks
        .iter()
        .try_for_each(|disk| new_volume::make(cloud, &disk.layer))
}

/// Records that an instance's volumes are there.
pub(crate) fn attach_volumes(db: &Connection, instance: &InstanceId) -> Result<()> {
    volumes::of_instance(db, instance)?
        .iter()
        .try_for_each(|disk| new_volume::settle(db, disk))
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
        given_kernel::put(&dir, &row.boot, files)?;
    }
    sync_names(&dir)
}

/// Starts an instance's machine: its specification is written anew, and it runs when this returns.
pub(crate) fn spawn(cloud: &Cloud, instance: &InstanceId) -> Result<()> {
    let (row, disks, told) = cloud.catalog.read(|tx| {
        let disks = volumes::of_instance(tx, instance)?;
        Ok((
            instances::get(tx, instance)?,
            disks,
            instances::told(tx, instance)?,
        ))
    })?;
    let layers = cloud.layers_of(&row.region)?;
    let dir = cloud.instance_directory(instance);
    seed::put(&dir, instance, &told)?;
    let seed = (!told.is_nothing()).then(|| seed::disk(&dir));
    crate::supervisor::spawn::write_spec(&dir, &row, &disks, &layers, &cloud.firmware, seed)?;
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
