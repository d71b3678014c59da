//! Images and the disks that they name.

use crate::boot::ImageBoots;
use crate::id::{ImageId, SnapshotId};
use crate::image::{Contents, OperatingSystem};
use crate::moment::Moment;
use crate::size::Bytes;
use crate::state::{BootMode, ImageState, VirtualizationType};
use crate::{Code, Error, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// An image.
#[derive(Clone, Debug)]
pub(crate) struct ImageRow {
    pub(crate) id: ImageId,
    pub(crate) region: String,
    pub(crate) location: String,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) state: ImageState,
    pub(crate) reason: Option<(String, String)>,
    pub(crate) architecture: String,
    pub(crate) virtualization: VirtualizationType,
    /// Absent for paravirtual ones, and for those that were registered before there was firmware.
    pub(crate) boot_mode: Option<BootMode>,
    /// What is on its root disk.
    pub(crate) contents: Contents,
    pub(crate) root_device: String,
    pub(crate) source_instance: Option<String>,
    pub(crate) created: Moment,
}

impl ImageRow {
    /// How it boots.
    pub(crate) fn boots(&self) -> ImageBoots {
        match self.virtualization {
            VirtualizationType::Paravirtual => ImageBoots::Paravirtual,
            // As in EC2, an image that says nothing is made for a BIOS.
            VirtualizationType::Hvm => ImageBoots::Hvm(self.boot_mode.unwrap_or(BootMode::LegacyBios)),
        }
    }
}

/// A disk of an image.
#[derive(Clone, Debug)]
pub(crate) struct ImageDevice {
    pub(crate) position: u32,
    pub(crate) device: String,
    pub(crate) snapshot: SnapshotId,
    pub(crate) size: Bytes,
    pub(crate) delete_on_termination: bool,
}

const COLUMNS: &str = "id, region, location, owner, name, description, state, reason_code, reason, \
                       architecture, virtualization, root_device, source_instance, created, boot_mode, \
                       partition_table, platform, system_name, system_id, system_version";

fn image(row: &Row<'_>) -> rusqlite::Result<ImageRow> {
    let code: Option<String> = row.get(7)?;
    let reason: Option<String> = row.get(8)?;
    let (id, version_id) = (row.get(18)?, row.get(19)?);
    let system = row.get::<_, Option<String>>(17)?;
    let contents = Contents {
        table: row.get(15)?,
        platform: row.get(16)?,
        system: system.map(|name| OperatingSystem { name, id, version_id }),
    };
    Ok(ImageRow {
        id: row.get(0)?,
        region: row.get(1)?,
        location: row.get(2)?,
        owner: row.get(3)?,
        name: row.get(4)?,
        description: row.get(5)?,
        state: row.get(6)?,
        reason: code.map(|code| (code, reason.unwrap_or_default())),
        architecture: row.get(9)?,
        virtualization: row.get(10)?,
        root_device: row.get(11)?,
        source_instance: row.get(12)?,
        created: row.get(13)?,
        boot_mode: row.get(14)?,
        contents,
    })
}

/// Records an image with its disks. A name that the owner has in the region already is refused.
pub(crate) fn insert(db: &Connection, new: &ImageRow, devices: &[ImageDevice]) -> Result<()> {
    refuse_duplicate(db, new)?;
    db.execute(
        "INSERT INTO images (id, region, location, owner, name, description, state, architecture,
                             virtualization, root_device, source_instance, created, boot_mode)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            new.id,
            new.region,
            new.location,
            new.owner,
            new.name,
            new.description,
            new.state,
            new.architecture,
            new.virtualization,
            new.root_device,
            new.source_instance,
            new.created,
            new.boot_mode
        ],
    )?;
    for device in devices {
        db.execute(
            "INSERT INTO image_devices (image, position, device, snapshot, size, delete_on_termination)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                new.id,
                device.position,
                device.device,
                device.snapshot,
                device.size,
                device.delete_on_termination
            ],
        )?;
    }
    describe_contents(db, &new.id, &new.contents)
}

fn refuse_duplicate(db: &Connection, new: &ImageRow) -> Result<()> {
    let other: Option<String> = db
        .query_row(
            "SELECT id FROM images WHERE region = ?1 AND owner = ?2 AND name = ?3
             AND state NOT IN ('deregistered', 'failed')",
            params![new.region, new.owner, new.name],
            |row| row.get(0),
        )
        .optional()?;
    match other {
        None => Ok(()),
        Some(other) => Err(Error::new(
            Code::InvalidAmiNameDuplicate,
            format!(
                "the name '{}' is taken by image {other}: choose another, or deregister that one first",
                new.name
            ),
        )),
    }
}

/// One image, whatever its state.
pub(crate) fn find(db: &Connection, id: &ImageId) -> Result<Option<ImageRow>> {
    Ok(db
        .query_row(
            &format!("SELECT {COLUMNS} FROM images WHERE id = ?1"),
            [id],
            image,
        )
        .optional()?)
}

/// All images of a region that are not gone, oldest first.
pub(crate) fn all(db: &Connection, region: &str) -> Result<Vec<ImageRow>> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM images WHERE region = ?1 AND state <> 'deregistered' ORDER BY created, rowid"
    ))?;
    Ok(statement
        .query_map([region], image)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The disks of an image, the root first.
pub(crate) fn devices(db: &Connection, id: &ImageId) -> Result<Vec<ImageDevice>> {
    let mut statement = db.prepare_cached(
        "SELECT position, device, snapshot, size, delete_on_termination FROM image_devices
         WHERE image = ?1 ORDER BY position",
    )?;
    let devices = statement.query_map([id], |row| {
        Ok(ImageDevice {
            position: row.get(0)?,
            device: row.get(1)?,
            snapshot: row.get(2)?,
            size: row.get(3)?,
            delete_on_termination: row.get(4)?,
        })
    })?;
    Ok(devices.collect::<rusqlite::Result<_>>()?)
}

/// Moves an image from one of some states to another.
pub(crate) fn change(db: &Connection, id: &ImageId, from: &[ImageState], to: ImageState) -> Result<()> {
    let Some(now) = find(db, id)?
        .map(|image| image.state)
        .filter(|state| from.contains(state))
    else {
        return Err(Error::new(
            Code::InvalidAmiIdUnavailable,
            format!("image {id} has changed its state"),
        ));
    };
    let gone = (to == ImageState::Deregistered).then(Moment::now);
    let rows = db.execute(
        "UPDATE images SET state = ?3, deregistered = ?4 WHERE id = ?1 AND state = ?2",
        params![id, now, to, gone],
    )?;
    super::exactly_one(rows, || format!("image {id} has changed under this command"))?;
    if to == ImageState::Deregistered {
        super::variables::forget(db, id)?;
    }
    Ok(())
}

/// Records how an image boots, once that is known.
pub(crate) fn describe_boot(
    db: &Connection,
    id: &ImageId,
    boots: ImageBoots,
    architecture: &str,
) -> Result<()> {
    let virtualization = boots.virtualization();
    let root_device = virtualization.root_device_name();
    db.execute(
        "UPDATE images SET virtualization = ?2, root_device = ?3, architecture = ?4, boot_mode = ?5 WHERE id = ?1",
        params![id, virtualization, root_device, architecture, boots.boot_mode()],
    )?;
    db.execute(
        "UPDATE image_devices SET device = ?2 WHERE image = ?1 AND position = 0",
        params![id, root_device],
    )?;
    Ok(())
}

/// Records what is on an image's root disk, once that is known.
pub(crate) fn describe_contents(db: &Connection, id: &ImageId, contents: &Contents) -> Result<()> {
    let system = contents.system.as_ref();
    db.execute(
        "UPDATE images SET partition_table = ?2, platform = ?3, system_name = ?4, system_id = ?5, system_version = ?6
         WHERE id = ?1",
        params![
            id,
            contents.table,
            contents.platform,
            system.map(|system| &system.name),
            system.map(|system| &system.id),
            system.map(|system| &system.version_id)
        ],
    )?;
    Ok(())
}

/// Undoes an image that was never available.
pub(crate) fn withdraw(db: &Connection, id: &ImageId) -> Result<()> {
    let pending: i64 = db.query_row(
        "SELECT count(*) FROM images WHERE id = ?1 AND state = 'pending'",
        [id],
        |row| row.get(0),
    )?;
    if pending == 1 {
        db.execute("DELETE FROM image_devices WHERE image = ?1", [id])?;
        super::variables::forget(db, id)?;
        db.execute("DELETE FROM images WHERE id = ?1", [id])?;
        super::tags::forget(db, id.as_str())?;
    }
    Ok(())
}
