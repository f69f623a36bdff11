//! Registers of devices: one value per conversation and device, replaced in place.
//!
//! They stand beside the log and are no part of it: in no digest of it, nobody's parents. Each change gets the next
//! position, so that a peer can be told what has changed since; a replaced value loses its position, so there are never
//! more rows than member devices. Sums of tags say cheaply whether two replicas hold the same.
//! Not here: signatures (checked before), who may see which (`replica`), what registers say (`store`, `client`).

use crate::{Batch, Fold, LogError, Reader, Step, roster, row};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;
use tombolo_model::limit::REGISTER_BYTES_MAX;
use tombolo_model::{AccountId, ConversationId, DeviceId, Register, Signature};

pub(crate) const STEP: Step = Step {
    why: "What each device holds and has read changes all the time: registers that are replaced, beside the log.",
    sql: "
-- position: counts changes. source: number of the peer that brought it, 0 = written here. tag: of this very version.
CREATE TABLE register (
    position INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, device BLOB NOT NULL, version INTEGER NOT NULL,
    source INTEGER NOT NULL, tag INTEGER NOT NULL, signature BLOB NOT NULL, payload BLOB NOT NULL,
    UNIQUE (conversation, device)) STRICT;
-- sum: of the tags of the conversation's registers, modulo 2^64.
CREATE TABLE register_sum (conversation INTEGER PRIMARY KEY, sum INTEGER NOT NULL) STRICT;
-- position: up to where the peer's registers were read, in its own count.
CREATE TABLE register_peer (peer INTEGER PRIMARY KEY, position INTEGER NOT NULL) STRICT;
",
};

/// What became of a register that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the newest now.
    New,
    /// What is here is as new, or newer.
    Old,
    /// Its device takes no part in the conversation, or it is over a bound: nothing was kept.
    Refused,
}

/// Where a register stands among the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Position of the change.
    pub position: u64,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Whose it is.
    pub device: DeviceId,
    /// Who brought it; `None` = it was written here.
    pub source: Option<DeviceId>,
}

fn register(row: &rusqlite::Row<'_>) -> Result<Register, LogError> {
    Ok(Register {
        conversation: ConversationId(row::array(row, 0)?),
        device: DeviceId(row::array(row, 1)?),
        version: row::number(row, 2)?,
        signature: Signature(row::array(row, 3)?),
        payload: row::blob(row, 4)?.to_vec(),
    })
}

macro_rules! select_register {
    ($tail:literal) => {
        concat!(
            "SELECT c.id, r.device, r.version, r.signature, r.payload \
             FROM register r JOIN conversation c ON c.n = r.conversation ",
            $tail
        )
    };
}

fn read_sum(conn: &Connection, n: i64) -> Result<u64, LogError> {
    let mut statement = conn.prepare_cached("SELECT sum FROM register_sum WHERE conversation = ?1")?;
    let sum: Option<i64> = statement.query_row([n], |row| row.get(0)).optional()?;
    Ok(sum.unwrap_or(0).cast_unsigned())
}

impl Reader {
    /// Position of the last change; 0 = there is none.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn registers_end(&self) -> Result<u64, LogError> {
        let mut statement = self.db()?.prepare_cached("SELECT coalesce(max(position), 0) FROM register")?;
        Ok(statement.query_row([], |row| row.get::<_, i64>(0))? as u64)
    }

    /// Up to where a peer's registers were read, in its own count; 0 = nothing.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn registers_read(&self, peer: &DeviceId) -> Result<u64, LogError> {
        let mut statement = self
            .db()?
            .prepare_cached("SELECT r.position FROM peer p JOIN register_peer r ON r.peer = p.n WHERE p.device = ?1")?;
        let read: Option<i64> = statement.query_row([peer.as_bytes()], |row| row.get(0)).optional()?;
        Ok(read.unwrap_or(0) as u64)
    }

    /// A device's register.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn register(&self, conversation: &ConversationId, device: &DeviceId) -> Result<Option<Register>, LogError> {
        let mut statement = self.db()?.prepare_cached(select_register!("WHERE c.id = ?1 AND r.device = ?2"))?;
        let mut rows = statement.query(params![conversation.as_bytes(), device.as_bytes()])?;
        rows.next()?.map(register).transpose()
    }

    /// Version of a device's register; 0 = there is none.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn register_version(&self, conversation: &ConversationId, device: &DeviceId) -> Result<u64, LogError> {
        let mut statement = self.db()?.prepare_cached(
            "SELECT r.version FROM register r JOIN conversation c ON c.n = r.conversation \
             WHERE c.id = ?1 AND r.device = ?2",
        )?;
        let mut rows = statement.query(params![conversation.as_bytes(), device.as_bytes()])?;
        rows.next()?.map_or(Ok(0), |row| row::number(row, 0))
    }

    /// All registers of a conversation, by device.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn registers(&self, conversation: &ConversationId) -> Result<Vec<Register>, LogError> {
        let mut statement = self.db()?.prepare_cached(select_register!("WHERE c.id = ?1 ORDER BY r.device"))?;
        let mut rows = statement.query([conversation.as_bytes()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(register(row)?);
        }
        Ok(found)
    }

    /// Changes after a position, oldest first; at most `limit`. What they say is not loaded.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn register_changes(&self, after: u64, limit: usize) -> Result<Vec<Change>, LogError> {
        let mut statement = self.db()?.prepare_cached(
            "SELECT r.position, c.id, r.device, p.device FROM register r JOIN conversation c ON c.n = r.conversation \
             LEFT JOIN peer p ON p.n = r.source WHERE r.position > ?1 ORDER BY r.position LIMIT ?2",
        )?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let source: Option<[u8; 32]> = row.get(3)?;
            found.push(Change {
                position: row::number(row, 0)?,
                conversation: ConversationId(row::array(row, 1)?),
                device: DeviceId(row::array(row, 2)?),
                source: source.map(DeviceId),
            });
        }
        Ok(found)
    }

    /// The sum of the tags of a conversation's registers (see [`Register::tag`]): of all, or of those of some devices.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn register_sum(
        &self,
        conversation: &ConversationId,
        of: Option<&BTreeSet<DeviceId>>,
    ) -> Result<u64, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(0) };
        let conn = self.db()?;
        let Some(devices) = of else { return read_sum(conn, n) };
        let mut statement = conn.prepare_cached("SELECT tag FROM register WHERE conversation = ?1 AND device = ?2")?;
        let mut sum = 0u64;
        for device in devices {
            let tag: Option<i64> = statement.query_row(params![n, device.as_bytes()], |row| row.get(0)).optional()?;
            sum = sum.wrapping_add(tag.unwrap_or(0).cast_unsigned());
        }
        Ok(sum)
    }

    /// How many accounts take part.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn accounts(&self, conversation: &ConversationId) -> Result<u64, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(0) };
        let mut statement =
            self.db()?.prepare_cached("SELECT count(DISTINCT account) FROM member WHERE conversation = ?1")?;
        Ok(statement.query_row([n], |row| row.get::<_, i64>(0))? as u64)
    }

    /// How many devices take part.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn devices(&self, conversation: &ConversationId) -> Result<u64, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(0) };
        let mut statement =
            self.db()?.prepare_cached("SELECT count(DISTINCT device) FROM member WHERE conversation = ?1")?;
        Ok(statement.query_row([n], |row| row.get::<_, i64>(0))? as u64)
    }

    /// Devices of the accounts that stand behind any of `devices`, with them. Empty when none of them takes part.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn siblings(
        &self,
        conversation: &ConversationId,
        devices: &[DeviceId],
    ) -> Result<BTreeSet<DeviceId>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(BTreeSet::new()) };
        let conn = self.db()?;
        let mut accounts: BTreeSet<AccountId> = BTreeSet::new();
        let mut of = conn.prepare_cached("SELECT account FROM member WHERE conversation = ?1 AND device = ?2")?;
        for device in devices {
            let mut rows = of.query(params![n, device.as_bytes()])?;
            while let Some(row) = rows.next()? {
                accounts.insert(AccountId(row::array(row, 0)?));
            }
        }
        let mut found = BTreeSet::new();
        let mut with = conn.prepare_cached("SELECT device FROM member WHERE conversation = ?1 AND account = ?2")?;
        for account in accounts {
            let mut rows = with.query(params![n, account.as_bytes()])?;
            while let Some(row) = rows.next()? {
                found.insert(DeviceId(row::array(row, 0)?));
            }
        }
        Ok(found)
    }
}

impl Batch<'_> {
    /// Takes a register whose signature has been checked, if its device takes part and nothing newer is here. `from` is
    /// the peer that brought it; `None` = it was written here. `fold` sees it inside this transaction.
    ///
    /// # Errors
    /// [`LogError`] of SQLite or of the fold; the batch is lost then.
    pub fn put_register(
        &mut self,
        register: &Register,
        from: Option<&DeviceId>,
        fold: &mut dyn Fold,
    ) -> Result<Taken, LogError> {
        self.guard(|batch| batch.put_register_row(register, from, fold))
    }

    fn put_register_row(
        &mut self,
        register: &Register,
        from: Option<&DeviceId>,
        fold: &mut dyn Fold,
    ) -> Result<Taken, LogError> {
        if register.version > i64::MAX as u64 || register.payload.len() > REGISTER_BYTES_MAX {
            return Ok(Taken::Refused);
        }
        let Some(n) = self.conversation(&register.conversation)?.map(|row| row.n) else { return Ok(Taken::Refused) };
        if !roster::is_member(self.conn, n, &register.device)? {
            return Ok(Taken::Refused);
        }
        let (device, version) = (register.device.as_bytes(), register.version as i64);
        let mut known = self
            .conn
            .prepare_cached("SELECT version, payload, tag FROM register WHERE conversation = ?1 AND device = ?2")?;
        let mut rows = known.query(params![n, device])?;
        let mut sum = 0u64;
        if let Some(row) = rows.next()? {
            let held = (row.get::<_, i64>(0)?, row::blob(row, 1)?);
            if held >= (version, &register.payload) {
                return Ok(Taken::Old);
            }
            sum = sum.wrapping_sub(row.get::<_, i64>(2)?.cast_unsigned());
        }
        drop(rows);
        let tag = register.tag();
        sum = sum.wrapping_add(tag).wrapping_add(read_sum(self.conn, n)?);
        let source = from.map_or(Ok(0), |peer| self.peer(peer))?;
        // The old row goes, so that its position does: what changed last stands last.
        let mut put = self.conn.prepare_cached(
            "INSERT OR REPLACE INTO register (position, conversation, device, version, source, tag, signature, payload) \
             VALUES ((SELECT coalesce(max(position), 0) + 1 FROM register), ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let tag = tag.cast_signed();
        put.execute(params![n, device, version, source, tag, register.signature.0, register.payload])?;
        let mut put =
            self.conn.prepare_cached("INSERT OR REPLACE INTO register_sum (conversation, sum) VALUES (?1, ?2)")?;
        put.execute(params![n, sum.cast_signed()])?;
        fold.register(self.tx.as_ref().ok_or(LogError::Abandoned)?, n, register)?;
        Ok(Taken::New)
    }

    /// Remembers up to where a peer's registers were read, in its own count.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn set_registers_read(&mut self, peer: &DeviceId, position: u64) -> Result<(), LogError> {
        self.guard(|batch| {
            let n = batch.peer(peer)?;
            let mut statement =
                batch.conn.prepare_cached("INSERT OR REPLACE INTO register_peer (peer, position) VALUES (?1, ?2)")?;
            statement.execute(params![n, i64::try_from(position).unwrap_or(i64::MAX)])?;
            Ok(())
        })
    }
}
