//! Snapshots.

use crate::id::{LayerId, SnapshotId};
use crate::moment::Moment;
use crate::size::Bytes;
use crate::state::SnapshotState;
use crate::{Code, Error, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A snapshot.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotRow {
    pub(crate) id: SnapshotId,
    pub(crate) region: String,
    pub(crate) location: String,
    pub(crate) owner: String,
    pub(crate) state: SnapshotState,
    pub(crate) layer: Option<LayerId>,
    pub(crate) volume: String,
    pub(crate) size: Bytes,
    pub(crate) description: String,
    pub(crate) started: Moment,
}

const COLUMNS: &str = "id, region, location, owner, state, layer, volume, size, description, started";

fn snapshot(row: &Row<'_>) -> rusqlite::Result<SnapshotRow> {
    Ok(SnapshotRow {
        id: row.get(0)?,
        region: row.get(1)?,
        location: row.get(2)?,
        owner: row.get(3)?,
        state: row.get(4)?,
        layer: row.get(5)?,
        volume: row.get(6)?,
        size: row.get(7)?,
        description: row.get(8)?,
        started: row.get(9)?,
    })
}

/// Records a snapshot.
pub(crate) fn insert(db: &Connection, new: &SnapshotRow) -> Result<()> {
    db.execute(
        "INSERT INTO snapshots (id, region, location, owner, state, layer, volume, size, description, started)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            new.id,
            new.region,
            new.location,
            new.owner,
            new.state,
            new.layer,
            new.volume,
            new.size,
            new.description,
            new.started
        ],
    )?;
    Ok(())
}

/// One snapshot.
pub(crate) fn find(db: &Connection, id: &SnapshotId) -> Result<Option<SnapshotRow>> {
    Ok(db
        .query_row(
            &format!("SELECT {COLUMNS} FROM snapshots WHERE id = ?1"),
            [id],
            snapshot,
        )
        .optional()?)
}

/// A snapshot that is completed, as far as disks are made of it.
#[derive(Clone, Debug)]
pub(crate) struct Completed {
    pub(crate) id: SnapshotId,
    pub(crate) layer: LayerId,
    pub(crate) size: Bytes,
}

/// One snapshot that must be there, and completed.
pub(crate) fn completed(db: &Connection, id: &SnapshotId) -> Result<Completed> {
    let row = find(db, id)?.ok_or_else(|| {
        Error::new(
            Code::InvalidSnapshotNotFound,
            format!("there is no snapshot {id}"),
        )
    })?;
    match (row.state, row.layer) {
        (SnapshotState::Completed, Some(layer)) => Ok(Completed {
            id: row.id,
            layer,
            size: row.size,
        }),
        (state, _) => Err(Error::new(
            Code::IncorrectState,
            format!("snapshot {id} cannot be used: it is {state}"),
        )),
    }
}

/// All snapshots of an owner in a region, oldest first.
pub(crate) fn all(db: &Connection, region: &str, owner: &str) -> Result<Vec<SnapshotRow>> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM snapshots WHERE region = ?1 AND owner = ?2 ORDER BY started, rowid"
    ))?;
    Ok(statement
        .query_map([region, owner], snapshot)?
        .collect::<rusqlite::Result<_>>()?)
}

/// Completes a pending snapshot: from now on its layer is what it holds.
pub(crate) fn complete(db: &Connection, id: &SnapshotId, layer: &LayerId) -> Result<()> {
    let rows = db.execute(
        "UPDATE snapshots SET state = 'completed', layer = ?2 WHERE id = ?1 AND state = 'pending'",
        params![id, layer],
    )?;
    super::exactly_one(rows, || format!("snapshot {id} is not pending any more"))
}

/// The images that name a snapshot and still need it.
pub(crate) fn images_of(db: &Connection, id: &SnapshotId) -> Result<Vec<String>> {
    let mut statement = db.prepare(
        "SELECT DISTINCT images.id FROM images JOIN image_devices ON image_devices.image = images.id
         WHERE image_devices.snapshot = ?1 AND images.state <> 'deregistered'",
    )?;
    Ok(statement
        .query_map([id], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?)
}

/// Deletes a snapshot that no image needs.
pub(crate) fn delete(db: &Connection, id: &SnapshotId) -> Result<()> {
    let images = images_of(db, id)?;
    if let Some(image) = images.first() {
        return Err(Error::new(
            Code::InvalidSnapshotInUse,
            format!("snapshot {id} is in use by image {image}: deregister the image first"),
        ));
    }
    let rows = db.execute("DELETE FROM snapshots WHERE id = ?1 AND state <> 'pending'", [id])?;
    super::exactly_one(rows, || format!("snapshot {id} is still being taken"))?;
    super::tags::forget(db, id.as_str())
}

/// Undoes a snapshot that was never completed.
pub(crate) fn withdraw(db: &Connection, id: &SnapshotId) -> Result<()> {
    db.execute("DELETE FROM snapshots WHERE id = ?1 AND state = 'pending'", [id])?;
    super::tags::forget(db, id.as_str())
}
