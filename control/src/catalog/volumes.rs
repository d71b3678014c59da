//! Volumes.

use crate::id::{InstanceId, LayerId, OperationId, VolumeId};
use crate::moment::Moment;
use crate::size::Bytes;
use crate::state::VolumeState;
use crate::{Code, Error, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A volume.
#[derive(Clone, Debug)]
pub(crate) struct VolumeRow {
    pub(crate) id: VolumeId,
    pub(crate) region: String,
    pub(crate) location: String,
    pub(crate) owner: String,
    pub(crate) state: VolumeState,
    pub(crate) layer: LayerId,
    pub(crate) snapshot: Option<String>,
    pub(crate) size: Bytes,
    pub(crate) attachment: Option<Attachment>,
    pub(crate) created: Moment,
}

/// A volume's place in an instance.
#[derive(Clone, Debug)]
pub(crate) struct Attachment {
    pub(crate) instance: InstanceId,
    pub(crate) position: u32,
    pub(crate) device: String,
    pub(crate) delete_on_termination: bool,
    pub(crate) since: Moment,
}

const COLUMNS: &str = "id, region, location, owner, state, layer, snapshot, size, created, \
                       instance, position, device, delete_on_termination, attached";

fn volume(row: &Row<'_>) -> rusqlite::Result<VolumeRow> {
    let instance: Option<InstanceId> = row.get(9)?;
    let attachment = match instance {
        None => None,
        Some(instance) => Some(Attachment {
            instance,
            position: row.get(10)?,
            device: row.get(11)?,
            delete_on_termination: row.get(12)?,
            since: row.get(13)?,
        }),
    };
    Ok(VolumeRow {
        id: row.get(0)?,
        region: row.get(1)?,
        location: row.get(2)?,
        owner: row.get(3)?,
        state: row.get(4)?,
        layer: row.get(5)?,
        snapshot: row.get(6)?,
        size: row.get(7)?,
        created: row.get(8)?,
        attachment,
    })
}

/// Records a volume.
pub(crate) fn insert(db: &Connection, new: &VolumeRow) -> Result<()> {
    let place = new.attachment.as_ref();
    db.execute(
        "INSERT INTO volumes (id, region, location, owner, state, layer, snapshot, size, created,
                              instance, position, device, delete_on_termination, attached)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            new.id,
            new.region,
            new.location,
            new.owner,
            new.state,
            new.layer,
            new.snapshot,
            new.size,
            new.created,
            place.map(|place| &place.instance),
            place.map(|place| place.position),
            place.map(|place| &place.device),
            place.is_some_and(|place| place.delete_on_termination),
            place.map(|place| place.since)
        ],
    )?;
    Ok(())
}

/// One volume.
pub(crate) fn find(db: &Connection, id: &VolumeId) -> Result<Option<VolumeRow>> {
    Ok(db
        .query_row(
            &format!("SELECT {COLUMNS} FROM volumes WHERE id = ?1"),
            [id],
            volume,
        )
        .optional()?)
}

/// One volume that must be there.
pub(crate) fn get(db: &Connection, id: &VolumeId) -> Result<VolumeRow> {
    find(db, id)?.ok_or_else(|| Error::new(Code::InvalidVolumeNotFound, format!("there is no volume {id}")))
}

/// All volumes of an owner in a region, oldest first.
pub(crate) fn all(db: &Connection, region: &str, owner: &str) -> Result<Vec<VolumeRow>> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM volumes WHERE region = ?1 AND owner = ?2 ORDER BY created, rowid"
    ))?;
    Ok(statement
        .query_map([region, owner], volume)?
        .collect::<rusqlite::Result<_>>()?)
}

/// All volumes of a region that an instance has, whoever owns them.
pub(crate) fn attached(db: &Connection, region: &str) -> Result<Vec<VolumeRow>> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM volumes WHERE region = ?1 AND instance IS NOT NULL"
    ))?;
    Ok(statement
        .query_map([region], volume)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The volumes of an instance, the root first.
pub(crate) fn of_instance(db: &Connection, instance: &InstanceId) -> Result<Vec<VolumeRow>> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM volumes WHERE instance = ?1 ORDER BY position"
    ))?;
    Ok(statement
        .query_map([instance], volume)?
        .collect::<rusqlite::Result<_>>()?)
}

/// Moves a volume from one state to another.
pub(crate) fn change(db: &Connection, id: &VolumeId, from: VolumeState, to: VolumeState) -> Result<()> {
    let rows = db.execute(
        "UPDATE volumes SET state = ?3 WHERE id = ?1 AND state = ?2",
        params![id, from, to],
    )?;
    super::exactly_one(rows, || format!("volume {id} is not {from} any more"))
}

/// Puts a new layer on top of a volume in place of the one that is sealed now.
pub(crate) fn move_on(db: &Connection, id: &VolumeId, old: &LayerId, new: &LayerId) -> Result<()> {
    let rows = db.execute(
        "UPDATE volumes SET layer = ?3 WHERE id = ?1 AND layer = ?2",
        params![id, old, new],
    )?;
    super::exactly_one(rows, || format!("volume {id} has another layer than {old} now"))
}

/// Gives a volume that is attached to nothing, and that no work is about, its place in an instance.
pub(crate) fn attach(db: &Connection, id: &VolumeId, place: &Attachment) -> Result<()> {
    let rows = db.execute(
        "UPDATE volumes SET state = 'in-use', instance = ?2, position = ?3, device = ?4,
                            delete_on_termination = ?5, attached = ?6
         WHERE id = ?1 AND operation IS NULL AND state = 'available'",
        params![
            id,
            place.instance,
            place.position,
            place.device,
            place.delete_on_termination,
            place.since
        ],
    )?;
    if rows == 1 { Ok(()) } else { Err(busy(id)) }
}

/// Takes a volume out of its instance; it stays.
pub(crate) fn detach(db: &Connection, id: &VolumeId) -> Result<()> {
    let rows = db.execute(
        "UPDATE volumes SET state = 'available', instance = NULL, position = NULL, device = NULL,
                            delete_on_termination = 0, attached = NULL
         WHERE id = ?1 AND state = 'in-use'",
        [id],
    )?;
    super::exactly_one(rows, || format!("volume {id} is not attached any more"))
}

/// Forgets a volume; its layer is the collector's from now on.
pub(crate) fn delete(db: &Connection, id: &VolumeId) -> Result<()> {
    db.execute("DELETE FROM volumes WHERE id = ?1", [id])?;
    super::tags::forget(db, id.as_str())
}

/// Forgets a volume that is attached to nothing, and that no work is about.
pub(crate) fn delete_detached(db: &Connection, id: &VolumeId) -> Result<()> {
    let rows = db.execute(
        "DELETE FROM volumes WHERE id = ?1 AND operation IS NULL AND state = 'available'",
        [id],
    )?;
    if rows == 0 {
        return Err(busy(id));
    }
    super::tags::forget(db, id.as_str())
}

/// Takes a volume that an instance has for work.
pub(crate) fn hold(db: &Connection, id: &OperationId, volume: &VolumeId) -> Result<()> {
    let rows = db.execute(
        "UPDATE volumes SET operation = ?1 WHERE id = ?2 AND operation IS NULL AND state = 'in-use'",
        params![id, volume],
    )?;
    if rows == 1 { Ok(()) } else { Err(busy(volume)) }
}

/// Work that a volume is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) operation: OperationId,
    pub(crate) kind: String,
    /// Whether an instance is taken for it, too.
    pub(crate) has_instance: bool,
}

/// What a volume is taken for, if for anything.
pub(crate) fn holder(db: &Connection, volume: &VolumeId) -> Result<Option<Holder>> {
    let holder = |row: &Row<'_>| {
        Ok(Holder {
            operation: row.get(0)?,
            kind: row.get(1)?,
            has_instance: row.get(2)?,
        })
    };
    Ok(db
        .query_row(
            "SELECT operations.id, operations.kind,
                    EXISTS (SELECT 1 FROM instances WHERE instances.operation = operations.id)
             FROM operations JOIN volumes ON volumes.operation = operations.id WHERE volumes.id = ?1",
            [volume],
            holder,
        )
        .optional()?)
}

pub(crate) fn busy(id: &VolumeId) -> Error {
    Error::new(
        Code::IncorrectState,
        format!("volume {id} is busy: another command is at work on it; try again when it is done"),
    )
}

/// Takes a volume that is attached to nothing for work.
pub(crate) fn claim(db: &Connection, id: &OperationId, volume: &VolumeId) -> Result<()> {
    let rows = db.execute(
        "UPDATE volumes SET operation = ?1
         WHERE id = ?2 AND operation IS NULL AND state = 'available'",
        params![id, volume],
    )?;
    if rows == 1 { Ok(()) } else { Err(busy(volume)) }
}
