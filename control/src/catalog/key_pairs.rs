//! Key pairs.

use crate::id::KeyPairId;
use crate::key_pair::PublicKey;
use crate::moment::Moment;
use crate::{Code, Error, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A key pair.
#[derive(Clone, Debug)]
pub(crate) struct KeyPairRow {
    pub(crate) id: KeyPairId,
    pub(crate) region: String,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) public_key: PublicKey,
    pub(crate) fingerprint: String,
    pub(crate) created: Moment,
}

const COLUMNS: &str = "id, region, owner, name, public_key, fingerprint, created";

fn key_pair(row: &Row<'_>) -> rusqlite::Result<KeyPairRow> {
    Ok(KeyPairRow {
        id: row.get(0)?,
        region: row.get(1)?,
        owner: row.get(2)?,
        name: row.get(3)?,
        public_key: row.get(4)?,
        fingerprint: row.get(5)?,
        created: row.get(6)?,
    })
}

/// Records a key pair, whose name is not taken.
pub(crate) fn insert(db: &Connection, new: &KeyPairRow) -> Result<()> {
    if find(db, &new.region, &new.owner, &new.name)?.is_some() {
        return Err(Error::new(
            Code::InvalidKeyPairDuplicate,
            format!("there is a key pair '{}' already", new.name),
        ));
    }
    db.execute(
        "INSERT INTO key_pairs (id, region, owner, name, public_key, fingerprint, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            new.id,
            new.region,
            new.owner,
            new.name,
            new.public_key,
            new.fingerprint,
            new.created
        ],
    )?;
    Ok(())
}

/// All key pairs of an owner in a region, by name.
pub(crate) fn all(db: &Connection, region: &str, owner: &str) -> Result<Vec<KeyPairRow>> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM key_pairs WHERE region = ?1 AND owner = ?2 ORDER BY name"
    ))?;
    Ok(statement
        .query_map([region, owner], key_pair)?
        .collect::<rusqlite::Result<_>>()?)
}

fn find(db: &Connection, region: &str, owner: &str, name: &str) -> Result<Option<KeyPairRow>> {
    Ok(db
        .query_row(
            &format!("SELECT {COLUMNS} FROM key_pairs WHERE region = ?1 AND owner = ?2 AND name = ?3"),
            [region, owner, name],
            key_pair,
        )
        .optional()?)
}

/// A key pair that must be there.
pub(crate) fn get(db: &Connection, region: &str, owner: &str, name: &str) -> Result<KeyPairRow> {
    find(db, region, owner, name)?.ok_or_else(|| {
        Error::new(
            Code::InvalidKeyPairNotFound,
            format!(
                "there is no key pair '{}': `kiln key list` shows those there are",
                name.escape_debug()
            ),
        )
    })
}

/// Forgets a key pair.
pub(crate) fn delete(db: &Connection, id: &KeyPairId) -> Result<()> {
    db.execute("DELETE FROM key_pairs WHERE id = ?1", [id])?;
    Ok(())
}
