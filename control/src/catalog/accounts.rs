//! Accounts, and the host that a home lives on.

use crate::moment::Moment;
use crate::{Code, Error, Result};
use rusqlite::{Connection, OptionalExtension, params};

/// The account that every home begins with.
const FIRST: (&str, &str) = ("000000000001", "default");
/// The account that owns what comes with Kiln.
const KILN: (&str, &str) = ("000000000000", "kiln");

/// Whether the rows that every home has are there.
pub(crate) fn are_seeded(db: &Connection) -> Result<bool> {
    Ok(db.query_row("SELECT EXISTS (SELECT 1 FROM accounts)", [], |row| row.get(0))?)
}

/// Makes the rows that every home has. Of two commands that open a new home at once, the second finds them made.
pub(crate) fn seed(db: &Connection) -> Result<()> {
    if are_seeded(db)? {
        return Ok(());
    }
    let mut insert = db.prepare("INSERT INTO accounts (id, name, alias, created) VALUES (?1, ?2, ?3, ?4)")?;
    insert.execute(params![KILN.0, KILN.1, Some(KILN.1), Moment::now()])?;
    insert.execute(params![FIRST.0, FIRST.1, None::<&str>, Moment::now()])?;
    let host = format!("h-{}", &crate::OperationId::mint()?.as_str()[3..]);
    db.execute(
        "INSERT INTO hosts (id, created) VALUES (?1, ?2)",
        params![host, Moment::now()],
    )?;
    Ok(())
}

/// The host whose home this is.
pub(crate) fn host(db: &Connection) -> Result<String> {
    Ok(
        db.query_row("SELECT id FROM hosts ORDER BY created LIMIT 1", [], |row| {
            row.get(0)
        })?,
    )
}

/// Finds an account by id or name.
pub(crate) fn find(db: &Connection, text: &str) -> Result<String> {
    let found = db
        .query_row(
            "SELECT id FROM accounts WHERE id = ?1 OR name = ?1",
            [text],
            |row| row.get(0),
        )
        .optional()?;
    match found {
        Some(id) => Ok(id),
        None => Err(Error::new(
            Code::AuthFailure,
            format!(
                "there is no account '{}': there are {}; leave out --account and KILN_ACCOUNT to act as {}",
                text.escape_debug(),
                all(db)?.join(", "),
                FIRST.1
            ),
        )),
    }
}

/// The accounts, as a user may name them.
fn all(db: &Connection) -> Result<Vec<String>> {
    let mut statement = db.prepare("SELECT id, name FROM accounts ORDER BY created, id LIMIT 10")?;
    let named = |row: &rusqlite::Row<'_>| {
        let (id, name): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(format!("{name} ({id})"))
    };
    Ok(statement.query_map([], named)?.collect::<rusqlite::Result<_>>()?)
}

/// The account that acts where none is named.
pub(crate) fn first(db: &Connection) -> Result<String> {
    find(db, FIRST.0)
}

/// The account that owns what comes with Kiln.
pub(crate) fn kiln(db: &Connection) -> Result<String> {
    find(db, KILN.0)
}

/// An account's alias, if it has one.
pub(crate) fn alias(db: &Connection, id: &str) -> Result<Option<String>> {
    Ok(db
        .query_row("SELECT alias FROM accounts WHERE id = ?1", [id], |row| row.get(0))
        .optional()?
        .flatten())
}
