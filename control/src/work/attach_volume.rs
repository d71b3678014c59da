//! AttachVolume and DetachVolume: a volume gets a place in an instance, or loses it.
//!
//! Of an instance that is stopped each is one transaction, and no file changes: its next start reads what it has. The
//! root may be detached, too, and another volume take its place; without any, the instance is not started and no image
//! is made of it. Of one that runs: [`plug_volume`](super::plug_volume), [`unplug_volume`](super::unplug_volume).

use super::new_volume::MOST_VOLUMES;
use super::unplug_volume::place_of;
use crate::catalog::instances::{self, InstanceRow};
use crate::catalog::operations;
use crate::catalog::volumes::{self, Attachment, VolumeRow};
use crate::crash::crash_point;
use crate::moment::Moment;
use crate::state::{InstanceState, VolumeState};
use crate::volume::{AttachVolume, DetachVolume, VolumeAttachment};
use crate::{Cloud, Code, Error, InstanceId, Reply, Result, device_name, resolve};
use rusqlite::Connection;

impl Cloud {
    /// AttachVolume. The volume stays when the instance is terminated.
    pub fn attach_volume(&self, request: &AttachVolume) -> Result<Reply<VolumeAttachment>> {
        self.refresh()?;
        let state = self.catalog.read(|tx| {
            resolve::volume(self, tx, &request.volume)?;
            let instance = resolve::instance(self, tx, &request.instance)?;
            Ok(instances::get(tx, &instance)?.state)
        })?;
        if state == InstanceState::Running {
            return self.plug_volume(request);
        }
        let attached = self.catalog.write(|tx| {
            let id = resolve::volume(self, tx, &request.volume)?;
            let instance = resolve::instance(self, tx, &request.instance)?;
            must_be_detached(&volumes::get(tx, &id)?)?;
            let row = at_rest(tx, &instance)?;
            let place = place(tx, &row, request.device.as_deref())?;
            volumes::attach(tx, &id, &place)?;
            crash_point!("attach_volume.before_commit");
            Ok(VolumeAttachment::of(&id, place, "attached"))
        })?;
        crash_point!("attach_volume.after_commit");
        Ok(Reply::new(attached))
    }

    /// DetachVolume; tells what the volume was attached to.
    pub fn detach_volume(&self, request: &DetachVolume) -> Result<Reply<VolumeAttachment>> {
        self.refresh()?;
        let state = self.catalog.read(|tx| {
            let id = resolve::volume(self, tx, &request.volume)?;
            Ok(instances::get(tx, &place_of(tx, &id)?.instance)?.state)
        })?;
        if state == InstanceState::Running {
            return self.unplug_volume(request);
        }
        let detached = self.catalog.write(|tx| {
            let id = resolve::volume(self, tx, &request.volume)?;
            let place = place_of(tx, &id)?;
            at_rest(tx, &place.instance)?;
            volumes::detach(tx, &id)?;
            crash_point!("detach_volume.before_commit");
            Ok(VolumeAttachment::of(&id, place, "detached"))
        })?;
        crash_point!("detach_volume.after_commit");
        Ok(Reply::new(detached))
    }
}

/// The instance, if neither a guest nor a command is at its disks.
fn at_rest(db: &Connection, id: &InstanceId) -> Result<InstanceRow> {
    let row = instances::must_be_stopped(db, id)?;
    operations::must_be_idle(db, id)?;
    Ok(row)
}

/// Refuses a volume that an instance has.
pub(super) fn must_be_detached(volume: &VolumeRow) -> Result<()> {
    match &volume.attachment {
        Some(place) if volume.state == VolumeState::InUse => Err(Error::new(
            Code::VolumeInUse,
            format!(
                "volume {} is {} of instance {}: detach it first (`kiln volume detach {}`)",
                volume.id, place.device, place.instance, volume.id
            ),
        )),
        _ => Ok(()),
    }
}

/// A new disk's place in an instance: the root's, if it is called so, else behind all others.
pub(super) fn place(db: &Connection, row: &InstanceRow, device: Option<&str>) -> Result<Attachment> {
    let disks = volumes::of_instance(db, &row.id)?;
    let places: Vec<&Attachment> = disks.iter().filter_map(|disk| disk.attachment.as_ref()).collect();
    let taken: Vec<&str> = places.iter().map(|place| place.device.as_str()).collect();
    let is_root = device == Some(&row.root_device);
    let others = places.iter().filter(|place| place.position > 0);
    if !is_root && others.count() >= MOST_VOLUMES {
        return Err(Error::new(
            Code::AttachmentLimitExceeded,
            format!(
                "instance {} has {MOST_VOLUMES} volumes beside its root: no more fit",
                row.id
            ),
        ));
    }
    let device = match device {
        Some(name) => {
            device_name::check(name, row.virtualization, &row.root_device, &taken)?;
            name.to_owned()
        }
        None => device_name::free(&taken)?,
    };
    let last = places.iter().map(|place| place.position).max().unwrap_or(0);
    Ok(Attachment {
        instance: row.id.clone(),
        position: if is_root { 0 } else { last.saturating_add(1) },
        device,
        delete_on_termination: false,
        since: Moment::now(),
    })
}

/// Refuses an instance whose root was detached.
pub(super) fn must_have_root(db: &Connection, row: &InstanceRow) -> Result<()> {
    let disks = volumes::of_instance(db, &row.id)?;
    let places = disks.iter().filter_map(|disk| disk.attachment.as_ref());
    if places.into_iter().any(|place| place.position == 0) {
        return Ok(());
    }
    let (id, root) = (&row.id, &row.root_device);
    Err(Error::new(
        Code::IncorrectState,
        format!(
            "invalid value '{id}' for instanceId: the instance does not have a volume attached at root ({root}); \
             `kiln volume attach VOLUME {id} --device {root}` gives it one"
        ),
    ))
}
