//! Numbered schema steps, for every part of the file: the log's own and those of crates that keep tables beside it.
//!
//! Responsible for: which steps a file has had (`schema` table), running the missing ones in one transaction, and
//! refusing a file that a newer version wrote *before* anything in it is touched.
//! Not here: the steps themselves (`schema.rs`; views in `store`), settings of the connection (`open.rs`).

use crate::LogError;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::BTreeMap;

/// One numbered change of the schema. Its number is its place in the list, from 1; a released step never changes.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Why the step exists, in a sentence.
    pub why: &'static str,
    /// The SQL texts, run as a batch.
    pub sql: &'static str,
}

/// A part of the file with its own numbering.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// Name in the `schema` table.
    pub name: &'static str,
    /// All steps, oldest first.
    pub steps: &'static [Step],
}

/// Marks files of this program (`PRAGMA application_id`): "TMBL".
pub(crate) const APPLICATION_ID: i64 = 0x544d_424c;

/// What stands in a file, before anything is written to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No tables at all.
    Empty,
    /// Version per component.
    Versions(BTreeMap<String, i64>),
}

/// Reads the versions of a file. Writes nothing.
pub(crate) fn inspect(conn: &Connection) -> Result<Found, LogError> {
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(Found::Empty);
    }
    let marked: i64 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let schema: Option<i64> = conn
        .query_row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema'", [], |row| row.get(0))
        .optional()?;
    if marked != APPLICATION_ID || schema.is_none() {
        return Err(LogError::NotAStore);
    }
    let mut statement = conn.prepare("SELECT component, version FROM schema")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Found::Versions(rows.collect::<Result<_, _>>()?))
}

/// Refuses versions and parts that this program does not know.
pub(crate) fn refuse_newer(found: &Found, components: &[Component]) -> Result<(), LogError> {
    let Found::Versions(versions) = found else { return Ok(()) };
    for (name, version) in versions {
        let known =
            components.iter().find(|component| component.name == name).map_or(0, |part| part.steps.len() as i64);
        if *version > known {
            return Err(LogError::Newer { component: name.clone(), found: *version, known });
        }
    }
    Ok(())
}

/// Whether any component lacks a step.
pub(crate) fn outdated(found: &Found, components: &[Component]) -> bool {
    let Found::Versions(versions) = found else { return true };
    components.iter().any(|part| versions.get(part.name).copied().unwrap_or(0) < part.steps.len() as i64)
}

/// Runs the missing steps of one component inside `tx`. The caller has refused newer versions.
///
/// # Errors
/// [`LogError`] of the first step that fails; the caller rolls back.
pub fn migrate(tx: &Transaction<'_>, component: &str, steps: &[Step]) -> Result<(), LogError> {
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema (component TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT",
    )?;
    let version: i64 = tx
        .query_row("SELECT version FROM schema WHERE component = ?1", [component], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let done = usize::try_from(version).map_err(|_| LogError::damaged("negative schema version"))?;
    if done > steps.len() {
        return Err(LogError::Newer { component: component.into(), found: version, known: steps.len() as i64 });
    }
    for step in &steps[done..] {
        tx.execute_batch(step.sql)?;
    }
    tx.execute(
        "INSERT OR REPLACE INTO schema (component, version) VALUES (?1, ?2)",
        params![component, steps.len() as i64],
    )?;
    Ok(())
}
