//! Operations: work in progress.

use crate::id::{InstanceId, OperationId};
use crate::moment::Moment;
use crate::{Code, Error, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Work in progress.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) id: OperationId,
    pub(crate) kind: String,
    pub(crate) region: String,
    pub(crate) host: String,
    pub(crate) owner: String,
    pub(crate) step: String,
    pub(crate) payload: String,
}

const COLUMNS: &str = "id, kind, region, host, owner, step, payload";

fn operation(row: &Row<'_>) -> rusqlite::Result<Operation> {
    Ok(Operation {
        id: row.get(0)?,
        kind: row.get(1)?,
        region: row.get(2)?,
        host: row.get(3)?,
        owner: row.get(4)?,
        step: row.get(5)?,
        payload: row.get(6)?,
    })
}

/// Records work that begins.
pub(crate) fn insert(db: &Connection, new: &Operation) -> Result<()> {
    db.execute(
        "INSERT INTO operations (id, kind, region, host, owner, step, payload, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            new.id,
            new.kind,
            new.region,
            new.host,
            new.owner,
            new.step,
            new.payload,
            Moment::now()
        ],
    )?;
    Ok(())
}

/// All work of a host in a region, oldest first; a session after the launch that it was recorded with.
pub(crate) fn all(db: &Connection, host: &str, region: &str) -> Result<Vec<Operation>> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM operations WHERE host = ?1 AND region = ?2
         ORDER BY created, kind = 'session', id"
    ))?;
    Ok(statement
        .query_map([host, region], operation)?
        .collect::<rusqlite::Result<_>>()?)
}

/// One piece of work, if it is still going on.
pub(crate) fn find(db: &Connection, id: &OperationId) -> Result<Option<Operation>> {
    Ok(db
        .query_row(
            &format!("SELECT {COLUMNS} FROM operations WHERE id = ?1"),
            [id],
            operation,
        )
        .optional()?)
}

/// Records that work has come to its next step.
pub(crate) fn advance(db: &Connection, id: &OperationId, step: &str) -> Result<()> {
    let rows = db.execute("UPDATE operations SET step = ?2 WHERE id = ?1", params![id, step])?;
    super::exactly_one(rows, || format!("work {id} was taken over by another command"))
}

/// Rewrites what work is about.
pub(crate) fn rewrite(db: &Connection, id: &OperationId, payload: &str) -> Result<()> {
    let rows = db.execute(
        "UPDATE operations SET payload = ?2 WHERE id = ?1",
        params![id, payload],
    )?;
    super::exactly_one(rows, || format!("work {id} was taken over by another command"))
}

/// Goes on as work of another kind, which is about the same.
pub(crate) fn go_on_as(db: &Connection, id: &OperationId, kind: &str) -> Result<()> {
    let rows = db.execute("UPDATE operations SET kind = ?2 WHERE id = ?1", params![id, kind])?;
    super::exactly_one(rows, || format!("work {id} was taken over by another command"))
}

/// Ends work: lets go of everything that it held. Layers that nothing else names are condemned with it.
pub(crate) fn finish(db: &Connection, id: &OperationId, region: &str) -> Result<()> {
    for table in ["instances", "volumes", "layers"] {
        db.execute(
            &format!("UPDATE {table} SET operation = NULL WHERE operation = ?1"),
            [id],
        )?;
    }
    db.execute("DELETE FROM operations WHERE id = ?1", [id])?;
    super::layers::condemn(db, region)
}

/// Takes an instance for work: one at a time.
pub(crate) fn claim(db: &Connection, id: &OperationId, instance: &InstanceId) -> Result<()> {
    must_be_idle(db, instance)?;
    let rows = db.execute(
        "UPDATE instances SET operation = ?1 WHERE id = ?2 AND operation IS NULL",
        params![id, instance],
    )?;
    super::exactly_one(rows, || format!("instance {instance} is gone"))
}

/// Lets go of an instance that was taken for work which goes on without it.
pub(crate) fn let_go(db: &Connection, id: &OperationId, instance: &InstanceId) -> Result<()> {
    db.execute(
        "UPDATE instances SET operation = NULL WHERE id = ?2 AND operation = ?1",
        params![id, instance],
    )?;
    Ok(())
}

/// Refuses an instance that a command is at work on.
pub(crate) fn must_be_idle(db: &Connection, instance: &InstanceId) -> Result<()> {
    let busy: Option<String> = db
        .query_row(
            "SELECT operations.kind FROM operations JOIN instances ON instances.operation = operations.id
             WHERE instances.id = ?1",
            [instance],
            |row| row.get(0),
        )
        .optional()?;
    busy.map_or(Ok(()), |kind| {
        Err(Error::new(
            Code::IncorrectInstanceState,
            format!(
                "instance {instance} is busy: another command is at work on it ({kind}); try again when it is done"
            ),
        ))
    })
}
