//! Layers: which files the store must have, and what keeps each alive.

use crate::id::{LayerId, OperationId};
use crate::moment::Moment;
use crate::size::Bytes;
use crate::state::LayerState;
use crate::{Code, Error, Result};
use kiln_imagefmt::gate::MAX_DEPTH;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeSet;

/// A layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) id: LayerId,
    pub(crate) region: String,
    pub(crate) location: String,
    pub(crate) owner: String,
    pub(crate) parent: Option<LayerId>,
    pub(crate) depth: u32,
    pub(crate) size: Bytes,
    pub(crate) state: LayerState,
    pub(crate) operation: Option<OperationId>,
}

const COLUMNS: &str = "id, region, location, owner, parent, depth, size, state, operation";

fn layer(row: &Row<'_>) -> rusqlite::Result<Layer> {
    Ok(Layer {
        id: row.get(0)?,
        region: row.get(1)?,
        location: row.get(2)?,
        owner: row.get(3)?,
        parent: row.get(4)?,
        depth: row.get(5)?,
        size: row.get(6)?,
        state: row.get(7)?,
        operation: row.get(8)?,
    })
}

/// Records a layer whose file is about to be made.
pub(crate) fn insert(db: &Connection, new: &Layer) -> Result<()> {
    if new.depth as usize > MAX_DEPTH {
        return Err(Error::new(
            Code::IncorrectState,
            format!(
                "the disk is {MAX_DEPTH} layers deep already: export it and import it again to make it one layer"
            ),
        ));
    }
    db.execute(
        "INSERT INTO layers (id, region, location, owner, parent, depth, size, state, operation, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            new.id,
            new.region,
            new.location,
            new.owner,
            new.parent,
            new.depth,
            new.size,
            new.state,
            new.operation,
            Moment::now()
        ],
    )?;
    Ok(())
}

/// One layer, if it is there.
pub(crate) fn find(db: &Connection, id: &LayerId) -> Result<Option<Layer>> {
    Ok(db
        .query_row(
            &format!("SELECT {COLUMNS} FROM layers WHERE id = ?1"),
            [id],
            layer,
        )
        .optional()?)
}

/// One layer that must be there.
pub(crate) fn get(db: &Connection, id: &LayerId) -> Result<Layer> {
    find(db, id)?.ok_or_else(|| {
        Error::new(
            Code::InternalError,
            format!("the catalogue does not know layer {id}"),
        )
    })
}

/// All layers of a region.
pub(crate) fn all(db: &Connection, region: &str) -> Result<Vec<Layer>> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM layers WHERE region = ?1 ORDER BY created, id"
    ))?;
    Ok(statement
        .query_map([region], layer)?
        .collect::<rusqlite::Result<_>>()?)
}

/// Moves a layer from one state to another.
pub(crate) fn change(db: &Connection, id: &LayerId, from: &[LayerState], to: LayerState) -> Result<()> {
    let now = get(db, id)?.state;
    if !from.contains(&now) {
        return Err(Error::new(Code::IncorrectState, format!("layer {id} is {now}")));
    }
    let rows = db.execute(
        "UPDATE layers SET state = ?3, operation = NULL WHERE id = ?1 AND state = ?2",
        params![id, now, to],
    )?;
    super::exactly_one(rows, || format!("layer {id} has changed under this command"))
}

/// The layers that something names: a volume, a snapshot, unfinished work, or another live layer.
pub(crate) fn live(db: &Connection, region: &str) -> Result<BTreeSet<LayerId>> {
    let mut statement = db.prepare(
        "WITH RECURSIVE live (id) AS (
             SELECT layer FROM volumes WHERE region = ?1
             UNION SELECT layer FROM snapshots WHERE region = ?1 AND layer IS NOT NULL
             UNION SELECT id FROM layers WHERE region = ?1 AND operation IS NOT NULL
             UNION SELECT layers.parent FROM layers JOIN live ON layers.id = live.id
                   WHERE layers.parent IS NOT NULL
         ) SELECT id FROM live",
    )?;
    Ok(statement
        .query_map([region], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?)
}

/// Marks every layer of a region that nothing names, so that nothing can begin to name it. Whoever lets go of layers
/// does this in the same transaction.
pub(crate) fn condemn(db: &Connection, region: &str) -> Result<()> {
    let live = live(db, region)?;
    let dead = all(db, region)?
        .into_iter()
        .filter(|layer| !live.contains(&layer.id));
    for layer in dead {
        db.execute("UPDATE layers SET state = 'deleting' WHERE id = ?1", [&layer.id])?;
    }
    Ok(())
}

/// The layers that are marked, the topmost first.
pub(crate) fn condemned(db: &Connection, region: &str) -> Result<Vec<LayerId>> {
    let mut statement =
        db.prepare("SELECT id FROM layers WHERE region = ?1 AND state = 'deleting' ORDER BY depth DESC, id")?;
    Ok(statement
        .query_map([region], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?)
}

/// Forgets a layer whose file is gone.
pub(crate) fn forget(db: &Connection, id: &LayerId) -> Result<()> {
    db.execute("DELETE FROM layers WHERE id = ?1 AND state = 'deleting'", [id])?;
    Ok(())
}
