//! The catalogue: what there is, in one SQLite file.
//!
//! Transactions are short: no process is started, no file made or copied inside one. Whoever writes begins with
//! `BEGIN IMMEDIATE`, so that two writers queue up (for at most [`BUSY_TIMEOUT`]) instead of one of them failing
//! half-way. A change of state is always an `UPDATE … WHERE id = … AND state IN (…)` whose row count is checked:
//! of two commands that want the same thing to change, one gets it and the other is told.
//!
//! The file is in WAL mode with `synchronous=FULL`: what a commit has acknowledged survives a power cut.

pub(crate) mod accounts;
pub(crate) mod images;
pub(crate) mod instances;
pub(crate) mod key_pairs;
pub(crate) mod layers;
mod migrations;
mod open;
pub(crate) mod operations;
pub(crate) mod snapshots;
pub(crate) mod tags;
pub(crate) mod variables;
pub(crate) mod volumes;

use crate::{Code, Error, Result};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a writer waits for another's transaction.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// The catalogue, open.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// One connection: calls of one process take turns, those of several processes queue in SQLite.
    connection: Mutex<Connection>,
}

impl Catalog {
    /// Reads a consistent state.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.transaction(TransactionBehavior::Deferred, work)
    }

    /// Changes something, all of it or nothing.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.transaction(TransactionBehavior::Immediate, work)
    }

    fn transaction<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(behavior)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

/// Checks that a statement touched exactly one row; anything else means that somebody was faster.
pub(crate) fn exactly_one(rows: usize, what: impl FnOnce() -> String) -> Result<()> {
    if rows == 1 {
        return Ok(());
    }
    Err(Error::new(Code::IncorrectState, what()))
}

/// Reads a column that holds JSON.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// Writes a column that holds JSON.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("write JSON for the catalogue", error))
}
