//! Tags of anything.

use crate::tag::{MOST_TAGS, Tag};
use crate::{Code, Error, Result};
use rusqlite::{Connection, params};

/// The tags of a thing, by key.
pub(crate) fn of(db: &Connection, resource: &str) -> Result<Vec<Tag>> {
    let mut statement = db.prepare_cached("SELECT key, value FROM tags WHERE resource = ?1 ORDER BY key")?;
    let tags = statement.query_map([resource], |row| {
        Ok(Tag {
            key: row.get(0)?,
            value: row.get(1)?,
        })
    })?;
    Ok(tags.collect::<rusqlite::Result<_>>()?)
}

/// Sets tags; a key that is there gets the new value.
pub(crate) fn set(db: &Connection, resource: &str, tags: &[Tag]) -> Result<()> {
    for tag in tags {
        db.execute(
            "INSERT INTO tags (resource, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (resource, key) DO UPDATE SET value = excluded.value",
            params![resource, tag.key, tag.value],
        )?;
    }
    if of(db, resource)?.len() > MOST_TAGS {
        return Err(Error::new(
            Code::TagLimitExceeded,
            format!("{resource} would have more than {MOST_TAGS} tags"),
        ));
    }
    Ok(())
}

/// Forgets the tags of a thing that is gone.
pub(crate) fn forget(db: &Connection, resource: &str) -> Result<()> {
    db.execute("DELETE FROM tags WHERE resource = ?1", [resource])?;
    Ok(())
}
