//! What is known of blobs: which are here, who pays for them, how far uploads are, and which ops refer to them.
//!
//! A SQLite file of its own beside the blobs, so that pieces of files and messages do not wait for each other. References
//! can be read again from the log at any time; so the file may be lost, except for who pays. Not here: the bytes
//! (`blobs.rs`), rights (`Rights`).

use std::path::Path;
use tombolo_model::{BlobId, ConversationId, OpId};
use tombolo_oplog::rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use tombolo_oplog::{LogError, Step, migrate};

/// An account, or a device whose account is not known.
pub(crate) type Payer = [u8; 32];

const STEPS: &[Step] = &[Step {
    why: "Blobs, uploads and references.",
    sql: "
-- Whole blobs. stored_ms: when the last piece came.
CREATE TABLE blob (
    id BLOB NOT NULL PRIMARY KEY, bytes INTEGER NOT NULL, payer BLOB NOT NULL, stored_ms INTEGER NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE INDEX blob_payer ON blob (payer);
CREATE INDEX blob_stored ON blob (stored_ms);

-- Uploads that are not whole. n: names the file; never used twice. have: bytes that are checked and on the disk.
CREATE TABLE part (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, payer BLOB NOT NULL, bytes INTEGER NOT NULL,
    have INTEGER NOT NULL, touched_ms INTEGER NOT NULL, UNIQUE (payer, id)) STRICT;
CREATE INDEX part_touched ON part (touched_ms);

-- Which ops refer to which blobs, whether or not these are here.
CREATE TABLE reference (
    id BLOB NOT NULL, conversation BLOB NOT NULL, op BLOB NOT NULL, PRIMARY KEY (id, conversation, op))
    STRICT, WITHOUT ROWID;
CREATE INDEX reference_op ON reference (conversation, op);

-- One row: up to this arrival of the log with this incarnation references were read.
CREATE TABLE followed (n INTEGER PRIMARY KEY, incarnation INTEGER NOT NULL, arrival INTEGER NOT NULL) STRICT;
",
}];

/// An upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) n: i64,
    pub(crate) id: BlobId,
    pub(crate) payer: Payer,
    pub(crate) bytes: u64,
    pub(crate) have: u64,
}

/// Sums for limits and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    pub(crate) parts: u64,
    /// **Bytes** that unfinished uploads will have.
    pub(crate) part_bytes: u64,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Index {
    conn: Connection,
}

fn number(row: &Row<'_>, column: usize) -> Result<u64, LogError> {
    Ok(row.get::<_, i64>(column)? as u64)
}

fn part(row: &Row<'_>) -> Result<Part, LogError> {
    Ok(Part {
        n: row.get(0)?,
        id: BlobId(row.get(1)?),
        payer: row.get(2)?,
        bytes: number(row, 3)?,
        have: number(row, 4)?,
    })
}

const PART: &str = "SELECT n, id, payer, bytes, have FROM part";

impl Index {
    pub(crate) fn open(path: &Path) -> Result<Self, LogError> {
        let mut conn = Connection::open(path)?;
        conn.busy_timeout(std::time::Duration::from_secs(5))?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        let tx = conn.transaction()?;
        migrate(&tx, "blobs", STEPS)?;
        tx.commit()?;
        Ok(Self { conn })
    }

    /// Does something as a whole: it is on the disk when this returns, or nothing of it is.
    pub(crate) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let tx = self.conn.transaction()?;
        let done = work(&tx)?;
        tx.commit()?;
        Ok(done)
    }

    /// Length of a blob that is here.
    pub(crate) fn bytes_of(&self, id: &BlobId) -> Result<Option<u64>, LogError> {
        let mut statement = self.conn.prepare_cached("SELECT bytes FROM blob WHERE id = ?1")?;
        Ok(statement.query_row([id.as_bytes()], |row| row.get::<_, i64>(0)).optional()?.map(|bytes| bytes as u64))
    }

    pub(crate) fn part(&self, id: &BlobId, payer: &Payer) -> Result<Option<Part>, LogError> {
        let mut statement = self.conn.prepare_cached(&format!("{PART} WHERE payer = ?1 AND id = ?2"))?;
        let mut rows = statement.query(params![payer, id.as_bytes()])?;
        rows.next()?.map(part).transpose()
    }

    pub(crate) fn parts(&self) -> Result<Vec<Part>, LogError> {
        let mut statement = self.conn.prepare(&format!("{PART} ORDER BY n"))?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(part(row)?);
        }
        Ok(found)
    }

    /// All blobs that are here.
    pub(crate) fn blobs(&self) -> Result<Vec<BlobId>, LogError> {
        let mut statement = self.conn.prepare("SELECT id FROM blob ORDER BY id")?;
        let rows = statement.query_map([], |row| Ok(BlobId(row.get(0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Conversations in which something refers to a blob.
    pub(crate) fn conversations(&self, id: &BlobId) -> Result<Vec<ConversationId>, LogError> {
        let mut statement = self.conn.prepare_cached("SELECT DISTINCT conversation FROM reference WHERE id = ?1")?;
        let rows = statement.query_map([id.as_bytes()], |row| Ok(ConversationId(row.get(0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Everything of an account, or of all.
    pub(crate) fn sums(&self, payer: Option<&Payer>) -> Result<Sums, LogError> {
        let of = |table: &str| -> Result<(u64, u64), LogError> {
            let sql = format!("SELECT count(*), coalesce(sum(bytes), 0) FROM {table} WHERE ?1 IS NULL OR payer = ?1");
            let mut statement = self.conn.prepare_cached(&sql)?;
            let sums: (i64, i64) = statement.query_row([payer], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok((sums.0 as u64, sums.1 as u64))
        };
        let ((blobs, bytes), (parts, part_bytes)) = (of("blob")?, of("part")?);
        Ok(Sums { blobs, bytes, parts, part_bytes })
    }

    /// Blobs that may go: those that nothing refers to and that were stored before `unreferenced_ms`, and all that were
    /// stored before `expired_ms`. Uploads that nobody has gone on with since `unreferenced_ms`.
    pub(crate) fn due(&self, unreferenced_ms: u64, expired_ms: u64) -> Result<(Vec<BlobId>, Vec<Part>), LogError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT id FROM blob b WHERE stored_ms < ?2 OR (stored_ms < ?1 \
             AND NOT EXISTS (SELECT 1 FROM reference r WHERE r.id = b.id)) ORDER BY id",
        )?;
        let limits = params![unreferenced_ms as i64, expired_ms as i64];
        let blobs = statement.query_map(limits, |row| Ok(BlobId(row.get(0)?)))?.collect::<Result<_, _>>()?;
        let mut statement = self.conn.prepare_cached(&format!("{PART} WHERE touched_ms < ?1"))?;
        let mut rows = statement.query([unreferenced_ms as i64])?;
        let mut parts = Vec::new();
        while let Some(row) = rows.next()? {
            parts.push(part(row)?);
        }
        Ok((blobs, parts))
    }

    /// Ops that refer to blobs.
    pub(crate) fn referring(&self) -> Result<Vec<(ConversationId, OpId)>, LogError> {
        let mut statement = self.conn.prepare_cached("SELECT DISTINCT conversation, op FROM reference")?;
        let rows = statement.query_map([], |row| Ok((ConversationId(row.get(0)?), OpId(row.get(1)?))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Up to where references were read, and of which log.
    pub(crate) fn followed(&self) -> Result<Option<(u64, u64)>, LogError> {
        let sql = "SELECT incarnation, arrival FROM followed";
        let found =
            self.conn.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()?;
        Ok(found.map(|(incarnation, arrival)| (incarnation as u64, arrival as u64)))
    }
}

/// Writes that are parts of larger ones.
pub(crate) mod put {
    use super::{BlobId, ConversationId, LogError, OpId, Part, Payer, Transaction, params};
    use tombolo_oplog::rusqlite::OptionalExtension as _;

    pub(crate) fn part(
        tx: &Transaction<'_>,
        id: &BlobId,
        payer: &Payer,
        bytes: u64,
        at_ms: u64,
    ) -> Result<Part, LogError> {
        tx.execute(
            "INSERT INTO part (id, payer, bytes, have, touched_ms) VALUES (?1, ?2, ?3, 0, ?4)",
            params![id.as_bytes(), payer, bytes as i64, at_ms as i64],
        )?;
        Ok(Part { n: tx.last_insert_rowid(), id: *id, payer: *payer, bytes, have: 0 })
    }

    pub(crate) fn have(tx: &Transaction<'_>, n: i64, have: u64, at_ms: u64) -> Result<(), LogError> {
        let mut statement = tx.prepare_cached("UPDATE part SET have = ?2, touched_ms = ?3 WHERE n = ?1")?;
        statement.execute(params![n, have as i64, at_ms as i64])?;
        Ok(())
    }

    pub(crate) fn no_part(tx: &Transaction<'_>, n: i64) -> Result<(), LogError> {
        tx.execute("DELETE FROM part WHERE n = ?1", [n])?;
        Ok(())
    }

    /// A blob that is whole; one that is here already stays whose it was.
    pub(crate) fn blob(
        tx: &Transaction<'_>,
        id: &BlobId,
        payer: &Payer,
        bytes: u64,
        at_ms: u64,
    ) -> Result<(), LogError> {
        tx.execute(
            "INSERT INTO blob (id, bytes, payer, stored_ms) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![id.as_bytes(), bytes as i64, payer, at_ms as i64],
        )?;
        Ok(())
    }

    pub(crate) fn no_blob(tx: &Transaction<'_>, id: &BlobId) -> Result<(), LogError> {
        tx.execute("DELETE FROM blob WHERE id = ?1", [id.as_bytes()])?;
        Ok(())
    }

    pub(crate) fn reference(
        tx: &Transaction<'_>,
        id: &BlobId,
        conversation: &ConversationId,
        op: &OpId,
    ) -> Result<(), LogError> {
        let sql = "INSERT INTO reference (id, conversation, op) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        let mut statement = tx.prepare_cached(sql)?;
        statement.execute(params![id.as_bytes(), conversation.as_bytes(), op.as_bytes()])?;
        Ok(())
    }

    /// Takes an op's references away; returns the blobs that nothing refers to any more.
    pub(crate) fn no_reference(
        tx: &Transaction<'_>,
        conversation: &ConversationId,
        op: &OpId,
    ) -> Result<Vec<BlobId>, LogError> {
        let sql = "DELETE FROM reference WHERE conversation = ?1 AND op = ?2 RETURNING id";
        let mut statement = tx.prepare_cached(sql)?;
        let of = params![conversation.as_bytes(), op.as_bytes()];
        let ids: Vec<BlobId> = statement.query_map(of, |row| Ok(BlobId(row.get(0)?)))?.collect::<Result<_, _>>()?;
        let mut left = Vec::new();
        for id in ids {
            let mut statement = tx.prepare_cached("SELECT 1 FROM reference WHERE id = ?1 LIMIT 1")?;
            if statement.query_row([id.as_bytes()], |_| Ok(())).optional()?.is_none() {
                left.push(id);
            }
        }
        Ok(left)
    }

    pub(crate) fn no_references(tx: &Transaction<'_>) -> Result<(), LogError> {
        tx.execute("DELETE FROM reference", [])?;
        Ok(())
    }

    pub(crate) fn followed(tx: &Transaction<'_>, incarnation: u64, arrival: u64) -> Result<(), LogError> {
        tx.execute(
            "INSERT OR REPLACE INTO followed (n, incarnation, arrival) VALUES (1, ?1, ?2)",
            params![incarnation as i64, arrival as i64],
        )?;
        Ok(())
    }
}
